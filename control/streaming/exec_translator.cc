#include "control/streaming/exec_translator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <utility>

#include "api/base/log.h"
#include "control/streaming/spdy.h"
#include "control/streaming/websocket.h"

namespace sluice::streaming {
namespace {

constexpr std::string_view kComponent = "exec";

enum Channel : unsigned char {
    kStdin = 0,
    kStdout = 1,
    kStderr = 2,
    kError = 3,
    kResize = 4,
    kCloseSignal = 255,
};
constexpr std::size_t kChannels = 5;
constexpr std::array<const char*, kChannels> kStreamTypes = {"stdin", "stdout", "stderr", "error",
                                                             "resize"};

// The client's bytes come on one thread, the kubelet's on another; each member belongs to one of them, so that there is
// no lock. Each side writes whole frames to the other, and answers pings of its own.
class Translator : public std::enable_shared_from_this<Translator> {
public:
    Translator(std::shared_ptr<http::ByteStream> client, std::shared_ptr<http::ByteStream> kubelet,
               const ExecStreams& streams)
        : client_(std::move(client)), kubelet_(std::move(kubelet)), streams_(streams) {}

    void start() {
        std::string opening;
        // In the order of Kubernetes' own clients: the error stream first.
        open(kError, &opening);
        if (streams_.in) open(kStdin, &opening);
        if (streams_.out) open(kStdout, &opening);
        if (streams_.err && !streams_.tty) open(kStderr, &opening);
        if (streams_.tty) open(kResize, &opening);
        // Nothing is ever sent on the error stream from here.
        opening += SpdyWriter::data(numbers_[kError], "", true);
        kubelet_->write(std::move(opening));
        // Clients wait for a first message as the sign that the session stands.
        const char channel = streams_.out ? kStdout : streams_.err ? kStderr : kError;
        client_->write(websocket_binary({&channel, 1}, ""));
        read_client();
        read_kubelet();
    }

private:
    void open(Channel channel, std::string* out) {
        numbers_[channel] = last_number_;
        last_number_ += 2;
        *out += writer_.syn_stream(numbers_[channel], {{"streamtype", kStreamTypes[channel]}});
    }

    // From the client to the kubelet -----------------------------------------------------------------

    void read_client() {
        client_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (self->finished_.load() && bytes && !bytes->empty()) {
                // Read and dropped: closing with bytes unread would reset the connection, and the client could lose
                // the end of the output.
                self->read_client();
                return;
            }
            if (!bytes || bytes->empty()) {
                // Without its client a session is over.
                self->kubelet_->close();
                self->client_->close();
                return;
            }
            self->client_bytes(*bytes);
        });
    }

    void client_bytes(const std::string& bytes) {
        std::string to_kubelet;
        std::string to_client;
        bool closed = false;
        const auto fed = from_client_.feed(bytes, [&](const WebSocketEvent& event) {
            switch (event.kind) {
                case WebSocketEvent::Kind::kPing:
                    to_client += websocket_pong(event.data);
                    break;
                case WebSocketEvent::Kind::kClose:
                    closed = true;
                    break;
                case WebSocketEvent::Kind::kMessage:
                    client_message(event.data, &to_kubelet);
                    break;
            }
        });
        if (!to_client.empty()) client_->write(std::move(to_client));
        if (!fed) {
            log::debug(kComponent, "{}", fed.error().message);
            finish(fed.error().code == Code::kResourceExhausted ? CloseCode::kTooBig
                                                               : CloseCode::kProtocolError);
            read_client();
            return;
        }
        if (closed) {
            // Its answer to our close frame, or the client's own wish to end.
            finish(CloseCode::kNormal);
            read_client();
            return;
        }
        kubelet_->write(std::move(to_kubelet));
        kubelet_->when_writable([self = shared_from_this()] { self->read_client(); });
    }

    void client_message(std::string_view message, std::string* to_kubelet) {
        if (message.empty()) return;
        const auto channel = static_cast<unsigned char>(message.front());
        message.remove_prefix(1);
        if (channel == kCloseSignal) {
            if (message.empty()) return;
            const auto closed = static_cast<unsigned char>(message.front());
            if ((closed == kStdin || closed == kResize) && is_open(closed)) {
                *to_kubelet += SpdyWriter::data(numbers_[closed], "", true);
                ended_by_client_[closed] = true;
            }
            return;
        }
        // What is sent on channels that only bring something, or were not asked for, is nobody's.
        if ((channel != kStdin && channel != kResize) || !is_open(channel) || message.empty()) {
            return;
        }
        *to_kubelet += SpdyWriter::data(numbers_[channel], message, false);
    }

    [[nodiscard]] bool is_open(unsigned char channel) const {
        return numbers_[channel] != 0 && !ended_by_client_[channel];
    }

    // From the kubelet to the client -----------------------------------------------------------------

    void read_kubelet() {
        kubelet_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (!bytes || bytes->empty()) {
                self->kubelet_ended();
                return;
            }
            self->kubelet_bytes(*bytes);
        });
    }

    void kubelet_bytes(const std::string& bytes) {
        std::string to_client;
        std::string to_kubelet;
        bool status_ended = false;
        const auto fed = from_kubelet_.feed(bytes, [&](const SpdyEvent& event) {
            switch (event.kind) {
                case SpdyEvent::Kind::kData:
                    kubelet_data(event, &to_client);
                    status_ended = status_ended || (event.fin && event.stream == numbers_[kError]);
                    break;
                case SpdyEvent::Kind::kReset:
                    status_ended = status_ended || event.stream == numbers_[kError];
                    break;
                case SpdyEvent::Kind::kPing:
                    // Ours are odd, and none was sent.
                    if (event.code % 2 == 0) to_kubelet += SpdyWriter::ping(event.code);
                    break;
                case SpdyEvent::Kind::kSynStream:
                    to_kubelet += SpdyWriter::reset(event.stream, kRefusedStream);
                    break;
                case SpdyEvent::Kind::kSynReply:
                case SpdyEvent::Kind::kHeaders:
                case SpdyEvent::Kind::kGoAway:
                    break;
            }
        });
        if (!to_kubelet.empty()) kubelet_->write(std::move(to_kubelet));
        if (!to_client.empty()) client_->write(std::move(to_client));
        if (!fed) {
            log::warn(kComponent, "from a kubelet: {}", fed.error().message);
            status_.clear();
            kubelet_ended();
            return;
        }
        if (status_ended) {
            kubelet_ended();
            return;
        }
        client_->when_writable([self = shared_from_this()] { self->read_kubelet(); });
    }

    void kubelet_data(const SpdyEvent& event, std::string* to_client) {
        if (event.data.empty()) return;
        if (event.stream == numbers_[kError]) {
            status_.append(event.data.substr(
                0, std::min(event.data.size(), kMaxExecStatusBytes - status_.size())));
            return;
        }
        for (const Channel channel : {kStdout, kStderr}) {
            if (numbers_[channel] != 0 && numbers_[channel] == event.stream) {
                const char byte = static_cast<char>(channel);
                *to_client += websocket_binary({&byte, 1}, event.data);
            }
        }
    }

    void kubelet_ended() {
        if (status_.empty()) {
            status_ = R"({"metadata":{},"status":"Failure","message":"Internal error occurred: )"
                      R"(the connection to the kubelet ended before the command did",)"
                      R"("reason":"InternalError","code":500})";
        }
        const char channel = static_cast<char>(kError);
        client_->write(websocket_binary({&channel, 1}, status_));
        finish(CloseCode::kNormal);
    }

    // The client gets what was written and the close frame; its end is closed when it has answered, or after the
    // stream's linger time.
    void finish(CloseCode code) {
        if (finished_.exchange(true)) return;
        client_->write(websocket_close(code));
        client_->end_writing();
        kubelet_->close();
    }

    static constexpr std::uint32_t kRefusedStream = 3;

    std::shared_ptr<http::ByteStream> client_;
    std::shared_ptr<http::ByteStream> kubelet_;
    const ExecStreams streams_;
    // Set by start(), then only read.
    std::array<std::uint32_t, kChannels> numbers_{};
    std::uint32_t last_number_ = 1;
    SpdyWriter writer_;
    // The client's thread.
    WebSocketReader from_client_;
    std::array<bool, kChannels> ended_by_client_{};
    // The kubelet's thread.
    SpdyReader from_kubelet_;
    std::string status_;

    std::atomic<bool> finished_{false};
};

}  // namespace

void translate_exec(std::shared_ptr<http::ByteStream> client,
                    std::shared_ptr<http::ByteStream> kubelet, const ExecStreams& streams) {
    std::make_shared<Translator>(std::move(client), std::move(kubelet), streams)->start();
}

}  // namespace sluice::streaming
