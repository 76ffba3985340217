"""What crosses between the processes: frozen values, no behaviour, no torch."""
