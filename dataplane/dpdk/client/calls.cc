#include "dataplane/dpdk/client/calls.h"

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <set>

#include "api/sluice/dpdk.grpc.pb.h"
#include "dataplane/dpdk/service/wire_internal.h"

namespace sluice::dpdk {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr int kMaxMessageBytes = 1 << 20;

class Calls final : public EngineCalls {
public:
    explicit Calls(const std::string& socket) : socket_(socket) {
        grpc::ChannelArguments arguments;
        // One connection an object, so that a new object does not wait for the back-off of an old one.
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
        arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
        // The peer of a unix socket has no host name; gRPC would escape the path for one.
        arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
        channel_ = grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
        stub_ = wire::Dpdk::NewStub(channel_);
    }

    Result<EngineState> status(milliseconds wait) override {
        wire::StatusReply reply;
        SLUICE_TRY(call(wait, [&](grpc::ClientContext& context) { return stub_->Status(&context, {}, &reply); }));
        return from_wire(reply);
    }
    Result<void> attach(std::uint32_t image, milliseconds wait) override {
        wire::AttachRequest request;
        request.set_image(image);
        wire::AttachReply reply;
        return call(wait, [&](grpc::ClientContext& context) { return stub_->Attach(&context, request, &reply); });
    }
    Result<void> synchronize(milliseconds wait) override {
        wire::SynchronizeReply reply;
        return call(wait, [&](grpc::ClientContext& context) { return stub_->Synchronize(&context, {}, &reply); });
    }
    Result<void> watch(const std::function<bool(const EngineState&)>& visit) override {
        return call(milliseconds::max(), [&](grpc::ClientContext& context) {
            const auto reader = stub_->Watch(&context, {});
            return read_all<wire::StatusReply>(*reader, context,
                                               [&](const wire::StatusReply& reply) { return visit(from_wire(reply)); });
        });
    }
    Result<std::uint64_t> drain(std::uint32_t idle_seconds, milliseconds wait) override {
        wire::DrainRequest request;
        request.set_idle_seconds(idle_seconds);
        wire::DrainReply reply;
        SLUICE_TRY(
            call(wait, [&](grpc::ClientContext& context) { return stub_->Drain(&context, request, &reply); }));
        return reply.active_flows();
    }
    Result<void> undo_drain() override {
        wire::DrainRequest request;
        request.set_undo(true);
        wire::DrainReply reply;
        return call(kShortCall, [&](grpc::ClientContext& context) { return stub_->Drain(&context, request, &reply); });
    }
    Result<void> hand_over(milliseconds wait) override {
        wire::HandOverReply reply;
        return call(wait, [&](grpc::ClientContext& context) { return stub_->HandOver(&context, {}, &reply); });
    }
    Result<CaptureState> capture(const CaptureOptions& options,
                                 const std::function<bool(const CaptureState&)>& progress) override {
        CaptureState last;
        SLUICE_TRY(call(milliseconds::max(), [&](grpc::ClientContext& context) {
            const auto reader = stub_->Capture(&context, to_wire(options));
            return read_all<wire::CaptureProgress>(*reader, context, [&](const wire::CaptureProgress& message) {
                last = {message.packets(), message.missed(), message.finished()};
                return progress(last);
            });
        }));
        return last;
    }
    void cancel() override {
        const std::lock_guard lock(mutex_);
        cancelled_ = true;
        for (grpc::ClientContext* context : running_) {
            context->TryCancel();
        }
    }

private:
    // A visitor that has enough ends the call without an error.
    template <class Message, class Reader, class Visit>
    static grpc::Status read_all(Reader& reader, grpc::ClientContext& context, const Visit& visit) {
        Message message;
        while (reader.Read(&message)) {
            if (!visit(message)) {
                context.TryCancel();
                static_cast<void>(reader.Finish());
                return grpc::Status::OK;
            }
        }
        return reader.Finish();
    }

    template <class Run>
    Result<void> call(milliseconds wait, const Run& run) {
        grpc::ClientContext context;
        if (wait != milliseconds::max()) {
            context.set_deadline(system_clock::now() + wait);
        }
        {
            const std::lock_guard lock(mutex_);
            if (cancelled_) {
                return make_error(Code::kCancelled, "calls to {} are over", socket_);
            }
            running_.insert(&context);
        }
        const grpc::Status status = run(context);
        {
            const std::lock_guard lock(mutex_);
            running_.erase(&context);
        }
        if (status.ok()) {
            return {};
        }
        const Error error = error_of(status);
        // gRPC's own sentence is about addresses and sub-channels.
        return error.code == Code::kUnavailable
                   ? make_error(Code::kUnavailable, "no DPDK engine answers on {}: {}", socket_, error.message)
                   : error;
    }

    std::string socket_;
    std::shared_ptr<grpc::Channel> channel_;
    std::unique_ptr<wire::Dpdk::Stub> stub_;
    std::mutex mutex_;
    std::set<grpc::ClientContext*> running_;
    bool cancelled_ = false;
};

}  // namespace

std::unique_ptr<EngineCalls> EngineCalls::to(const std::string& socket) {
    return std::make_unique<Calls>(socket);
}

}  // namespace sluice::dpdk
