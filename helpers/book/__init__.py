"""What every chapter needs: parameters, runs and records, results, claims, pictures and pages."""
