"""A run as a static folder of pages: look at many explanations, filter, sort, compare, and open one."""
