// The container runtime as the kubelet sees it: CRI v1 on a unix socket, one method a call. An interface, so that the
// state machine is tested without containers.
//
// Calls block until the runtime answers or the call's deadline passes; any number of threads may call. Errors carry the
// runtime's own words. A stop token ends a call with kCancelled.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/external/cri/runtime.pb.h"

namespace sluice::kubelet {

namespace criv1 = ::runtime::v1;

// Deadlines, in the measure of kubelet's: a sandbox waits for CNI plugins, a stop for its grace period besides.
inline constexpr std::uint32_t kCriCallMs = 120'000;
inline constexpr std::uint32_t kCriSandboxMs = 240'000;
inline constexpr std::uint32_t kCriPullMs = 1'800'000;
// One answer of the runtime; a larger one fails the call.
inline constexpr int kMaxCriMessageBytes = 16 << 20;

class Cri {
public:
    virtual ~Cri() = default;

    virtual Result<criv1::VersionResponse> version() = 0;
    virtual Result<criv1::RuntimeStatus> status() = 0;

    // The id of the sandbox.
    virtual Result<std::string> run_sandbox(const criv1::PodSandboxConfig& config) = 0;
    virtual Result<void> stop_sandbox(const std::string& id) = 0;
    virtual Result<void> remove_sandbox(const std::string& id) = 0;
    virtual Result<criv1::PodSandboxStatus> sandbox_status(const std::string& id) = 0;
    virtual Result<std::vector<criv1::PodSandbox>> list_sandboxes() = 0;

    // The id of the container.
    virtual Result<std::string> create_container(const std::string& sandbox_id,
                                                 const criv1::ContainerConfig& config,
                                                 const criv1::PodSandboxConfig& sandbox) = 0;
    virtual Result<void> start_container(const std::string& id) = 0;
    // Returns when the container has ended: SIGTERM, and SIGKILL after grace_s.
    virtual Result<void> stop_container(const std::string& id, std::int64_t grace_s) = 0;
    virtual Result<void> remove_container(const std::string& id) = 0;
    virtual Result<criv1::ContainerStatus> container_status(const std::string& id) = 0;
    virtual Result<std::vector<criv1::Container>> list_containers() = 0;
    virtual Result<criv1::ExecSyncResponse> exec_sync(const std::string& id,
                                                      const std::vector<std::string>& command,
                                                      std::uint32_t timeout_ms) = 0;
    // URLs of the streaming server.
    virtual Result<std::string> exec(const criv1::ExecRequest& request) = 0;
    virtual Result<std::string> attach(const criv1::AttachRequest& request) = 0;
    virtual Result<std::string> port_forward(const criv1::PortForwardRequest& request) = 0;

    // kNotFound when the image is not there.
    virtual Result<criv1::Image> image_status(const std::string& image) = 0;
    // The reference of the pulled image.
    virtual Result<std::string> pull_image(const criv1::PullImageRequest& request,
                                           std::stop_token stop) = 0;
    virtual Result<std::vector<criv1::Image>> list_images() = 0;
    virtual Result<void> remove_image(const std::string& image) = 0;
    virtual Result<criv1::ImageFsInfoResponse> image_fs_info() = 0;
};

// endpoint: "unix:///run/containerd/containerd.sock" or the path alone; kInvalidArgument otherwise.
// The runtime need not be there yet: calls fail until it is, and find it again after it was gone.
Result<std::string> parse_endpoint(const std::string& endpoint);
Result<std::unique_ptr<Cri>> make_cri_client(const std::string& endpoint);

// "rpc error: code = NotFound desc = ...": how kubelet shows an error of the runtime in events and status.
[[nodiscard]] std::string rpc_text(const Error& error);

}  // namespace sluice::kubelet
