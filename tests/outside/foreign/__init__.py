"""Parts that somebody wrote in a package of their own, with nothing but public names of sslab."""
