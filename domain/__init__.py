"""What routines, goals, sessions, runs, tools and messages are, and every decision without I/O."""
