"""What writes the scenario as a program, a language a file."""
