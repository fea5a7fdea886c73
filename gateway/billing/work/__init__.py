"""The worker and what every job uses: alerts, backoff, rate limits, the clock."""
