"""The example Django site: which packages its venv needs, its pool, and how its form is sent."""

DJANGO = ["django", "asgiref", "sqlparse"]

# It lacks a process manager; `django-venv` and `data` are made by who prepares the folder.
DJANGO_POOL = """
[pool:django]
app = wsgi:application
directory = %(here)s/app/django_site
python = django-venv
listen = %(here)s/django.sock
environment = DATABASE="%(here)s/data/notes.sqlite",SECRET_KEY="test"
pm.max_children = 2
"""
FORM_TYPE = "application/x-www-form-urlencoded"
