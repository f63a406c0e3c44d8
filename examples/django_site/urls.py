from django.urls import path
from notes import views

urlpatterns = [
    path("", views.index, name="index"),
    path("upload", views.upload, name="upload"),
    path("export", views.export, name="export"),
    path("broken", views.broken, name="broken"),
]
