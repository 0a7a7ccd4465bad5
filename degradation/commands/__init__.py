"""What people type: arguments, printing, exit statuses."""
