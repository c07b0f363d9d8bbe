"""One metric per file; metrics never import each other."""
