# The backup that a clinic begins with may lie in any bucket. In the one that clinics share, the clinic sees that object
# and no other; whether another bucket takes conditions is not known here.

locals {
  _object = var.restore == null ? null : "projects/_/buckets/${var.restore.bucket}/objects/${var.restore.object}"
}

resource "google_storage_bucket_iam_member" "restore" {
  count  = var.restore == null ? 0 : 1
  bucket = var.restore.bucket
  role   = "roles/storage.objectViewer"
  member = var.restore.reader

  dynamic "condition" {
    for_each = var.restore.bucket == var.bucket ? [local._object] : []
    content {
      title       = "one backup"
      description = "The backup with which clinic ${var.clinic} begins."
      expression  = "resource.name == \"${condition.value}\""
    }
  }
}
