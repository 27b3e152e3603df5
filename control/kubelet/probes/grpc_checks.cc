#include "control/kubelet/probes/grpc_checks_private.h"

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "api/external/grpc/health.pb.h"

namespace sluice::kubelet {
namespace {

constexpr const char* kMethod = "/grpc.health.v1.Health/Check";
constexpr int kMaxAnswerBytes = 64 << 10;

// One under way; deletes itself when it is over.
struct Check {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<grpc::GenericStub> stub;
    grpc::ClientContext context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
    grpc::ByteBuffer answer;
    grpc::Status status;
    std::string authority;
    std::uint32_t timeout_ms = 0;
    std::function<void(AttemptResult)> done;
};

std::string seconds_text(std::uint32_t timeout_ms) { return fmt::format("{}s", timeout_ms / 1000); }

AttemptResult judge(Check& check) {
    const auto failure = [](std::string message) {
        return AttemptResult{AttemptResult::Status::kFailure, std::move(message), 0};
    };
    if (!check.status.ok()) {
        const std::string& why = check.status.error_message();
        switch (check.status.error_code()) {
            case grpc::StatusCode::UNIMPLEMENTED:
                return failure("error: this server does not implement the grpc health protocol "
                               "(grpc.health.v1.Health): " + why);
            case grpc::StatusCode::DEADLINE_EXCEEDED:
                if (check.channel->GetState(false) != GRPC_CHANNEL_READY) {
                    return failure(fmt::format(
                        "timeout: failed to connect service \"{}\" within {}: context deadline exceeded",
                        check.authority, seconds_text(check.timeout_ms)));
                }
                return failure(fmt::format("timeout: health rpc did not complete within {}",
                                           seconds_text(check.timeout_ms)));
            case grpc::StatusCode::UNAVAILABLE:
                return failure(fmt::format("error: failed to connect service at \"{}\": {}",
                                           check.authority, why));
            default:
                return failure("error: health rpc probe failed: " + why);
        }
    }
    grpc::Slice slice;
    ::grpc::health::v1::HealthCheckResponse response;
    if (!check.answer.DumpToSingleSlice(&slice).ok() ||
        !response.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
        return failure("error: health rpc probe failed: the answer is no HealthCheckResponse");
    }
    if (response.status() != ::grpc::health::v1::HealthCheckResponse::SERVING) {
        return failure(fmt::format(
            "service unhealthy (responded with \"{}\")",
            ::grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status())));
    }
    return AttemptResult{AttemptResult::Status::kSuccess, "", 0};
}

class Checks final : public GrpcChecks {
public:
    Checks() : thread_([this] { run(); }) {}
    ~Checks() override {
        {
            const std::scoped_lock lock(mutex_);
            for (Check* check : under_way_) check->context.TryCancel();
        }
        queue_.Shutdown();
        thread_.join();
    }
    Checks(const Checks&) = delete;
    Checks& operator=(const Checks&) = delete;

    void start(const std::string& authority, const std::string& service, std::uint32_t timeout_ms,
               const std::string& user_agent, std::function<void(AttemptResult)> done) override {
        grpc::ChannelArguments arguments;
        arguments.SetUserAgentPrefix(user_agent);
        arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
        // Each probe makes its connection anew, as its question is whether that works.
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
        auto check = std::make_unique<Check>();
        check->authority = authority;
        check->timeout_ms = timeout_ms;
        check->done = std::move(done);
        check->channel =
            grpc::CreateCustomChannel(authority, grpc::InsecureChannelCredentials(), arguments);
        check->stub = std::make_unique<grpc::GenericStub>(check->channel);
        check->context.set_deadline(std::chrono::system_clock::now() +
                                    std::chrono::milliseconds(timeout_ms));
        ::grpc::health::v1::HealthCheckRequest request;
        request.set_service(service);
        const std::string bytes = request.SerializeAsString();
        const grpc::Slice slice(bytes);
        const grpc::ByteBuffer body(&slice, 1);
        // Not started before it is known, so that destruction finds it.
        const std::scoped_lock lock(mutex_);
        check->reader = check->stub->PrepareUnaryCall(&check->context, kMethod, body, &queue_);
        check->reader->StartCall();
        Check* tag = check.release();
        under_way_.insert(tag);
        tag->reader->Finish(&tag->answer, &tag->status, tag);
    }

private:
    void run() {
        void* tag = nullptr;
        bool ok = false;
        while (queue_.Next(&tag, &ok)) {
            const std::unique_ptr<Check> check(static_cast<Check*>(tag));
            {
                const std::scoped_lock lock(mutex_);
                under_way_.erase(check.get());
            }
            check->done(judge(*check));
        }
    }

    std::mutex mutex_;
    std::unordered_set<Check*> under_way_;
    grpc::CompletionQueue queue_;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<GrpcChecks> GrpcChecks::create() { return std::make_unique<Checks>(); }

}  // namespace sluice::kubelet
