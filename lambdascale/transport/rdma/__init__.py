"""One-sided writes by RDMA verbs: the body that λScale is made for (paper.md 6.4)."""
