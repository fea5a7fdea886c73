"""Asking issuers about credentials that only they can verify, one file for each identity kind that does."""
