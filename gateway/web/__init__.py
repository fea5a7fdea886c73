"""The public listener: route table, error table, handlers of one screen, admin API, the buyer's page."""
