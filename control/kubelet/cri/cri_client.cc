// CRI v1 by gRPC. The stubs are safe for any number of threads and share one connection.
#include <chrono>
#include <string_view>
#include <utility>

#include "api/external/cri/runtime.grpc.pb.h"
#include "control/kubelet/cri/channel_internal.h"
#include "control/kubelet/cri/cri.h"

namespace sluice::kubelet {

namespace {

constexpr int kMinReconnectMs = 50;
constexpr int kMaxReconnectMs = 500;
constexpr std::string_view kScheme = "unix://";
// The longest path that fits into a unix socket's address.
constexpr std::size_t kMaxSocketPath = 107;

class CriClient final : public Cri {
public:
    explicit CriClient(const std::string& path)
        : channel_(make_channel(path)), runtime_(criv1::RuntimeService::NewStub(channel_)),
          images_(criv1::ImageService::NewStub(channel_)) {}

    Result<criv1::VersionResponse> version() override {
        criv1::VersionRequest request;
        request.set_version("v1");
        return call<criv1::VersionResponse>(*runtime_, &Runtime::Version, request);
    }

    Result<criv1::RuntimeStatus> status() override {
        SLUICE_TRY_ASSIGN(auto response, call<criv1::StatusResponse>(*runtime_, &Runtime::Status,
                                                                     criv1::StatusRequest()));
        return std::move(*response.mutable_status());
    }

    Result<std::string> run_sandbox(const criv1::PodSandboxConfig& config) override {
        criv1::RunPodSandboxRequest request;
        *request.mutable_config() = config;
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::RunPodSandboxResponse>(*runtime_, &Runtime::RunPodSandbox,
                                                             request, kCriSandboxMs));
        return response.pod_sandbox_id();
    }

    Result<void> stop_sandbox(const std::string& id) override {
        criv1::StopPodSandboxRequest request;
        request.set_pod_sandbox_id(id);
        return done(call<criv1::StopPodSandboxResponse>(*runtime_, &Runtime::StopPodSandbox, request,
                                                        kCriSandboxMs));
    }

    Result<void> remove_sandbox(const std::string& id) override {
        criv1::RemovePodSandboxRequest request;
        request.set_pod_sandbox_id(id);
        return done(call<criv1::RemovePodSandboxResponse>(*runtime_, &Runtime::RemovePodSandbox,
                                                          request, kCriSandboxMs));
    }

    Result<criv1::PodSandboxStatus> sandbox_status(const std::string& id) override {
        criv1::PodSandboxStatusRequest request;
        request.set_pod_sandbox_id(id);
        SLUICE_TRY_ASSIGN(auto response, call<criv1::PodSandboxStatusResponse>(
                                             *runtime_, &Runtime::PodSandboxStatus, request));
        return std::move(*response.mutable_status());
    }

    Result<std::vector<criv1::PodSandbox>> list_sandboxes() override {
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::ListPodSandboxResponse>(*runtime_, &Runtime::ListPodSandbox,
                                                              criv1::ListPodSandboxRequest()));
        return std::vector<criv1::PodSandbox>(response.items().begin(), response.items().end());
    }

    Result<std::string> create_container(const std::string& sandbox_id,
                                         const criv1::ContainerConfig& config,
                                         const criv1::PodSandboxConfig& sandbox) override {
        criv1::CreateContainerRequest request;
        request.set_pod_sandbox_id(sandbox_id);
        *request.mutable_config() = config;
        *request.mutable_sandbox_config() = sandbox;
        SLUICE_TRY_ASSIGN(auto response, call<criv1::CreateContainerResponse>(
                                             *runtime_, &Runtime::CreateContainer, request));
        return response.container_id();
    }

    Result<void> start_container(const std::string& id) override {
        criv1::StartContainerRequest request;
        request.set_container_id(id);
        return done(
            call<criv1::StartContainerResponse>(*runtime_, &Runtime::StartContainer, request));
    }

    Result<void> stop_container(const std::string& id, std::int64_t grace_s) override {
        criv1::StopContainerRequest request;
        request.set_container_id(id);
        request.set_timeout(grace_s);
        const auto timeout = std::chrono::seconds(grace_s) + std::chrono::milliseconds(kCriCallMs);
        return done(call<criv1::StopContainerResponse>(
            *runtime_, &Runtime::StopContainer, request,
            std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()));
    }

    Result<void> remove_container(const std::string& id) override {
        criv1::RemoveContainerRequest request;
        request.set_container_id(id);
        return done(
            call<criv1::RemoveContainerResponse>(*runtime_, &Runtime::RemoveContainer, request));
    }

    Result<criv1::ContainerStatus> container_status(const std::string& id) override {
        criv1::ContainerStatusRequest request;
        request.set_container_id(id);
        SLUICE_TRY_ASSIGN(auto response, call<criv1::ContainerStatusResponse>(
                                             *runtime_, &Runtime::ContainerStatus, request));
        return std::move(*response.mutable_status());
    }

    Result<std::vector<criv1::Container>> list_containers() override {
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::ListContainersResponse>(*runtime_, &Runtime::ListContainers,
                                                              criv1::ListContainersRequest()));
        return std::vector<criv1::Container>(response.containers().begin(),
                                             response.containers().end());
    }

    Result<criv1::ExecSyncResponse> exec_sync(const std::string& id,
                                              const std::vector<std::string>& command,
                                              std::uint32_t timeout_ms) override {
        criv1::ExecSyncRequest request;
        request.set_container_id(id);
        for (const auto& word : command) request.add_cmd(word);
        // The runtime counts in seconds and kills the command; the call itself waits a little longer.
        request.set_timeout((timeout_ms + 999) / 1000);
        return call<criv1::ExecSyncResponse>(*runtime_, &Runtime::ExecSync, request,
                                             std::int64_t{timeout_ms} + 5'000);
    }

    Result<std::string> exec(const criv1::ExecRequest& request) override {
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::ExecResponse>(*runtime_, &Runtime::Exec, request));
        return response.url();
    }
    Result<std::string> attach(const criv1::AttachRequest& request) override {
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::AttachResponse>(*runtime_, &Runtime::Attach, request));
        return response.url();
    }
    Result<std::string> port_forward(const criv1::PortForwardRequest& request) override {
        SLUICE_TRY_ASSIGN(auto response, call<criv1::PortForwardResponse>(
                                             *runtime_, &Runtime::PortForward, request));
        return response.url();
    }

    Result<criv1::Image> image_status(const std::string& image) override {
        criv1::ImageStatusRequest request;
        request.mutable_image()->set_image(image);
        SLUICE_TRY_ASSIGN(auto response, call<criv1::ImageStatusResponse>(
                                             *images_, &Images::ImageStatus, request));
        if (!response.has_image() || response.image().id().empty()) {
            return make_error(Code::kNotFound, "image \"{}\" is not present", image);
        }
        return std::move(*response.mutable_image());
    }

    Result<std::string> pull_image(const criv1::PullImageRequest& request,
                                   std::stop_token stop) override {
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::PullImageResponse>(*images_, &Images::PullImage, request,
                                                         kCriPullMs, std::move(stop)));
        return response.image_ref();
    }

    Result<std::vector<criv1::Image>> list_images() override {
        SLUICE_TRY_ASSIGN(auto response,
                          call<criv1::ListImagesResponse>(*images_, &Images::ListImages,
                                                          criv1::ListImagesRequest()));
        return std::vector<criv1::Image>(response.images().begin(), response.images().end());
    }

    Result<void> remove_image(const std::string& image) override {
        criv1::RemoveImageRequest request;
        request.mutable_image()->set_image(image);
        return done(call<criv1::RemoveImageResponse>(*images_, &Images::RemoveImage, request));
    }

    Result<criv1::ImageFsInfoResponse> image_fs_info() override {
        return call<criv1::ImageFsInfoResponse>(*images_, &Images::ImageFsInfo,
                                                criv1::ImageFsInfoRequest());
    }

private:
    using Runtime = criv1::RuntimeService::Stub;
    using Images = criv1::ImageService::Stub;

    template <class Response, class Stub, class Request>
    static Result<Response> call(
        Stub& stub,
        grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
        const Request& request, std::int64_t timeout_ms = kCriCallMs, std::stop_token stop = {}) {
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() +
                             std::chrono::milliseconds(timeout_ms));
        const std::stop_callback cancel(std::move(stop), [&context] { context.TryCancel(); });
        Response response;
        const auto status = (stub.*method)(&context, request, &response);
        if (!status.ok()) return error_of(status);
        return response;
    }

    template <class Response>
    static Result<void> done(const Result<Response>& result) {
        if (!result) return result.error();
        return {};
    }

    std::shared_ptr<grpc::Channel> channel_;
    std::unique_ptr<Runtime> runtime_;
    std::unique_ptr<Images> images_;
};

std::string_view go_code_name(Code code) {
    static constexpr std::string_view kNames[] = {
        "OK",           "Canceled",         "Unknown",           "InvalidArgument",
        "DeadlineExceeded", "NotFound",     "AlreadyExists",     "PermissionDenied",
        "ResourceExhausted", "FailedPrecondition", "Aborted",    "OutOfRange",
        "Unimplemented", "Internal",        "Unavailable",       "DataLoss",
        "Unauthenticated"};
    const auto at = static_cast<std::size_t>(code);
    return at < std::size(kNames) ? kNames[at] : "Unknown";
}

}  // namespace

std::shared_ptr<grpc::Channel> make_channel(const std::string& socket_path) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxCriMessageBytes);
    // The runtime is restarted now and then; waiting long to try again would only delay pods.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kMinReconnectMs);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kMinReconnectMs);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    // containerd answers requests whose authority is an escaped path with PROTOCOL_ERROR.
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("unix:" + socket_path, grpc::InsecureChannelCredentials(),
                                     arguments);
}

Error error_of(const grpc::Status& status) {
    return Error{static_cast<Code>(status.error_code()), status.error_message(), 0};
}

std::string rpc_text(const Error& error) {
    return fmt::format("rpc error: code = {} desc = {}", go_code_name(error.code), error.message);
}

Result<std::string> parse_endpoint(const std::string& endpoint) {
    std::string path = endpoint;
    if (path.starts_with(kScheme)) path.erase(0, kScheme.size());
    if (!path.starts_with('/') || path.size() > kMaxSocketPath) {
        return make_error(Code::kInvalidArgument,
                          "container runtime endpoint \"{}\" is not unix:// and an absolute path "
                          "of at most {} characters",
                          endpoint, kMaxSocketPath);
    }
    return path;
}

Result<std::unique_ptr<Cri>> make_cri_client(const std::string& endpoint) {
    SLUICE_TRY_ASSIGN(const auto path, parse_endpoint(endpoint));
    return std::unique_ptr<Cri>(std::make_unique<CriClient>(path));
}

}  // namespace sluice::kubelet
