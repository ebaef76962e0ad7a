"""What runs inside the job image: provision, nfs-init."""
