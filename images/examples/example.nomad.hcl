# A service on every client: one static program, fetched by HTTP, no container.
# `files` is whatever serves the program; the test suite's virtual network has a machine of that name.
job "example" {
  type = "service"

  meta {
    owner = "steppe"
  }

  group "web" {
    count = 3

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }

    network {
      port "http" {}
    }

    task "httpd" {
      driver = "raw_exec"

      artifact {
        source      = "http://files:8000/busybox"
        destination = "local/busybox"
        mode        = "file"
      }

      env {
        GREETING = "hello from ${node.unique.name}"
      }

      config {
        command = "local/busybox"
        args    = ["httpd", "-f", "-v", "-p", "${NOMAD_PORT_http}", "-h", "local"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
