"""The neural code: similarity of representations, coding schemes, a simulated scanner."""
