"""What the database remembers: the ledger, the journal and the view ledger."""
