"""Generation: a request becomes a plan, a plan becomes jobs, and jobs share network calls."""
