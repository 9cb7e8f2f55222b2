"""Real HTTP servers on 127.0.0.1 that speak the formats of exchanges and brokers, with scripts of faults."""
