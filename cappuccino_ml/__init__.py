"""Cappuccino's library: bars -> features -> encoder -> policy -> verdict -> champion -> orders. No Dagster here."""
