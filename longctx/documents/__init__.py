"""Documents and prompts, exact to the token: tokenizing, templates, splicing, budgets."""
