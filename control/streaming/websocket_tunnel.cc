#include "control/streaming/websocket_tunnel.h"

#include <atomic>
#include <string>
#include <utility>

#include "api/base/log.h"
#include "control/streaming/websocket.h"

namespace sluice::streaming {
namespace {

constexpr std::string_view kComponent = "tunnel";

// The client's bytes come on one thread, the far end's on another; each writes whole frames to the other.
class Tunnel : public std::enable_shared_from_this<Tunnel> {
public:
    Tunnel(std::shared_ptr<http::ByteStream> client, std::shared_ptr<http::ByteStream> far)
        : client_(std::move(client)), far_(std::move(far)) {}

    void start() {
        read_client();
        read_far();
    }

private:
    void read_client() {
        client_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (!bytes || bytes->empty()) {
                self->far_->end_writing();
                self->far_->close();
                self->client_->close();
            } else if (self->finished_.load()) {
                self->read_client();
            } else {
                self->client_bytes(*bytes);
            }
        });
    }

    void client_bytes(const std::string& bytes) {
        std::string to_far;
        std::string to_client;
        bool closed = false;
        const auto fed = reader_.feed(bytes, [&](const WebSocketEvent& event) {
            if (event.kind == WebSocketEvent::Kind::kMessage) {
                to_far += event.data;
            } else if (event.kind == WebSocketEvent::Kind::kPing) {
                to_client += websocket_pong(event.data);
            } else {
                closed = true;
            }
        });
        if (!to_client.empty()) client_->write(std::move(to_client));
        far_->write(std::move(to_far));
        if (!fed || closed) {
            if (!fed) log::debug(kComponent, "{}", fed.error().message);
            const bool too_big = !fed && fed.error().code == Code::kResourceExhausted;
            finish(fed ? CloseCode::kNormal
                       : too_big ? CloseCode::kTooBig : CloseCode::kProtocolError);
            read_client();
            return;
        }
        far_->when_writable([self = shared_from_this()] { self->read_client(); });
    }

    void read_far() {
        far_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (!bytes || bytes->empty()) {
                self->finish(CloseCode::kNormal);
                return;
            }
            self->client_->write(websocket_binary(*bytes, ""));
            self->client_->when_writable([self] { self->read_far(); });
        });
    }

    void finish(CloseCode code) {
        if (finished_.exchange(true)) return;
        client_->write(websocket_close(code));
        client_->end_writing();
        far_->end_writing();
    }

    std::shared_ptr<http::ByteStream> client_;
    std::shared_ptr<http::ByteStream> far_;
    WebSocketReader reader_;  // the client's thread
    std::atomic<bool> finished_{false};
};

}  // namespace

void tunnel(std::shared_ptr<http::ByteStream> client, std::shared_ptr<http::ByteStream> far) {
    std::make_shared<Tunnel>(std::move(client), std::move(far))->start();
}

}  // namespace sluice::streaming
