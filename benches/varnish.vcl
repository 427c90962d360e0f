# Varnish before the service without a cache. SERVICE is filled in by servers.py.
vcl 4.1;
backend service { .host = "127.0.0.1"; .port = "SERVICE"; }
sub vcl_backend_response {
    set beresp.ttl = 30s;
    # Varnish's own rules, which come next, would not keep what is sent with no-store.
    return (deliver);
}
