#!/bin/bash
set -e
exec > >(sudo tee /var/log/user-data.log) 2>&1
sudo mkdir -p /etc/nomad.d
cat > /etc/nomad.d/server.hcl <<EOF
server {
  enabled          = true
  bootstrap_expect = 3
}
EOF
sudo systemctl enable nomad
sudo systemctl start nomad
