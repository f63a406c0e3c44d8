"""A page of notes with a form, an upload and a streamed export."""

import hashlib

from django import forms
from django.contrib import messages
from django.http import JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from notes.models import Note


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ("text",)


def index(request):
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect("index")
    return render(request, "index.html", {"form": form, "notes": Note.objects.order_by("-id")})


@require_POST
def upload(request):
    """Answer with the name, size and digest of an uploaded file."""
    uploaded = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in uploaded.chunks():
        digest.update(chunk)
    answer = {"name": uploaded.name, "size": uploaded.size, "sha256": digest.hexdigest()}
    return JsonResponse(answer)


def export(request):
    """Every note as a line of text, sent while it is read."""
    lines = (f"{note.text}\n" for note in Note.objects.order_by("id").iterator())
    return StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8")


def broken(request):
    raise RuntimeError("the notes are on fire")
