"""Runs of migrations on databases where they cannot do harm: in other orders, after only what they require, back and forth."""
