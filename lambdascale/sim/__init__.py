"""The second clock: a virtual-time loop and simulated leaves."""
