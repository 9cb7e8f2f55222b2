"""Tables and pictures from results; nothing is computed here that a verdict could rest on."""
