"""What the pool names: `app = wsgi:application`."""

import os
from wsgiref.util import setup_testing_defaults

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_wsgi_application()

# An example has to run at once, so it brings its database up to date while it boots. One process
# does that, since a pool imports its application once and forks its workers afterwards; closing
# the connection keeps it out of those forks. A real site runs `manage.py migrate` when it deploys.
call_command("migrate", verbosity=0)

# Django loads views, forms and templates with the first request. One request here, which nobody
# sees, loads them once for all workers: they share that memory, and none has a slow first request.
environ = {}
setup_testing_defaults(environ)
application(environ, lambda status, headers: None).close()
connections.close_all()
