"""A small Flask site: a guest book in SQLite, an upload, a streamed page.

It runs unchanged under any WSGI server; `pools.d/` shows how under pyfpm. The database lies
where GUESTBOOK says, a file that the pool's user may write.
"""

import hashlib
import os
import sqlite3
import tempfile
import time

from flask import Flask, Response, abort, flash, g, redirect, render_template, request, url_for

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "only for trying things out")
DATABASE = os.environ.get("GUESTBOOK", os.path.join(tempfile.gettempdir(), "guestbook.sqlite"))


def database():
    if "database" not in g:
        g.database = sqlite3.connect(DATABASE)
        g.database.execute("CREATE TABLE IF NOT EXISTS entries (name TEXT, text TEXT)")
    return g.database


@app.teardown_appcontext
def close_database(_error):
    if "database" in g:
        g.pop("database").close()


@app.get("/")
def index():
    entries = database().execute("SELECT name, text FROM entries ORDER BY rowid DESC").fetchall()
    return render_template("index.html", entries=entries)


@app.post("/sign")
def sign():
    name, text = request.form.get("name", "").strip(), request.form.get("text", "").strip()
    if not name or not text:
        abort(400)
    with database() as connection:
        connection.execute("INSERT INTO entries VALUES (?, ?)", (name, text))
    flash("Thank you!")
    return redirect(url_for("index"))


@app.post("/upload")
def upload():
    """Answer with the name, size and digest of an uploaded file."""
    uploaded = request.files["file"]
    digest, size = hashlib.sha256(), 0
    while chunk := uploaded.stream.read(1 << 16):
        digest.update(chunk)
        size += len(chunk)
    return {"name": uploaded.filename, "size": size, "sha256": digest.hexdigest()}


@app.get("/clock")
def clock():
    """Three lines, one at a time."""

    def ticks():
        for number in range(3):
            yield f"tick {number}\n"
            time.sleep(0.05)

    return Response(ticks(), mimetype="text/plain", headers={"X-Accel-Buffering": "no"})


@app.get("/broken")
def broken():
    raise RuntimeError("the guest book fell into the river")


@app.get("/greet/<name>")
def greet(name):
    return {"hello": name, "url": url_for("greet", name=name)}
