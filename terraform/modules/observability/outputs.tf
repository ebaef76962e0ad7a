output "channels" {
  description = "Full names of all channels, those made here included."
  value       = local.channels
}
