"""The worker and what every job uses: transactions, alerts, retries, rate limits, the clock."""
