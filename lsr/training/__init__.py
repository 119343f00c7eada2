"""Making models: recipes, teachers, fitted rows."""
