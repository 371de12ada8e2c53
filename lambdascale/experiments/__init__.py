"""Runs that leave tidy results behind."""
