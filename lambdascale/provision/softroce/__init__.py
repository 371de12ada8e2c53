"""A throw-away virtual machine with software RDMA devices (SoftRoCE), for the tests of real verbs.

Debian's stock kernel on qemu, on the root file system of this machine, read-only: the same Python and the
same checkout, as root, with devices that the machine itself lacks. Read `__main__`, then `vm` and `guest`.
What runs in it is emulated: real verbs through the real kernel driver, at the speed of an emulator.
"""
