"""Parameters, runs, records, tables, claims, figures and pages of the chapters."""
