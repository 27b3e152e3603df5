// The kubelet's HTTPS server, which the API server calls for logs, exec, attach and port-forward. Clients are known by
// certificates of the cluster's authority; only system:masters and the API server's own identity are served.
//
//   GET  /healthz                                  (also without credentials)
//   GET  /containerLogs/NS/POD/CONTAINER?follow&previous&tailLines&sinceSeconds&sinceTime&timestamps&limitBytes
//   POST|GET /exec|attach/NS/POD[/UID]/CONTAINER   upgraded (SPDY/3.1 or WebSocket), passed through to the runtime
//   POST|GET /portForward/NS/POD[/UID]             the same
//   GET  /pods, /metrics
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"

namespace sluice::kubelet {

struct ExecRequest {
    std::vector<std::string> command;  // empty: attach
    bool stdin_stream = false;
    bool stdout_stream = false;
    bool stderr_stream = false;
    bool tty = false;
};

// What the server asks the rest of the kubelet. Thread-safe; calls may block for the runtime.
class ServerBackend {
public:
    virtual ~ServerBackend() = default;

    struct LogFile {
        std::string path;   // the CRI log file; rotated ones lie beside it with a suffix
        bool running = false;
        std::string container_id;
    };
    // kNotFound: no such pod or container here; kFailedPrecondition: it has not started, with Kubernetes' words
    // (`container "web" in pod "web-1" is waiting to start: ContainerCreating`,
    // `previous terminated container "web" in pod "web-1" not found`).
    virtual Result<LogFile> log_file(const std::string& namespace_name, const std::string& pod_name,
                                     const std::string& container, bool previous) = 0;
    // Whether the container with that id still runs: ends `logs -f`.
    virtual bool is_running(const std::string& container_id) = 0;
    // URLs of the runtime's streaming server, "http://127.0.0.1:34567/exec/TOKEN".
    virtual Result<std::string> exec_url(const std::string& namespace_name,
                                         const std::string& pod_name, const std::string& container,
                                         const ExecRequest& request) = 0;
    virtual Result<std::string> port_forward_url(const std::string& namespace_name,
                                                 const std::string& pod_name,
                                                 const std::vector<std::int32_t>& ports) = 0;
    // A PodList as JSON.
    virtual std::string pods_json() = 0;
    // Prometheus text.
    virtual std::string metrics() = 0;
};

struct KubeletServerOptions {
    std::string address = "0.0.0.0";
    std::uint16_t port = 10250;  // 0: any free one
    std::string certificate_pem;
    std::string private_key_pem;
    std::string client_ca_pem;
};

class KubeletServer {
public:
    virtual ~KubeletServer() = default;
    [[nodiscard]] virtual std::uint16_t port() const = 0;
    // backend outlives it.
    static Result<std::unique_ptr<KubeletServer>> start(const KubeletServerOptions& options,
                                                        ServerBackend& backend);
};

}  // namespace sluice::kubelet
