#include "control/streaming/upgrade_relay.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::streaming {
namespace {

std::string lower_case(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    return out;
}

class BodyRelay : public std::enable_shared_from_this<BodyRelay> {
public:
    BodyRelay(std::shared_ptr<http::ByteStream> body, std::shared_ptr<http::Responder> responder)
        : body_(std::move(body)), responder_(std::move(responder)) {}

    void turn() {
        body_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (!bytes || bytes->empty()) {
                if (bytes) {
                    self->responder_->end_stream();
                } else {
                    self->responder_->abort_stream();
                }
                self->body_->close();
            } else if (self->responder_->write(std::move(*bytes))) {
                self->responder_->when_writable([self] { self->turn(); });
            } else {
                self->body_->close();
            }
        });
    }

private:
    std::shared_ptr<http::ByteStream> body_;
    std::shared_ptr<http::Responder> responder_;
};

}  // namespace

std::vector<std::string> listed(const http::Request& request, std::string_view lower_case_name) {
    std::vector<std::string> out;
    for (const auto& [name, value] : request.headers) {
        if (name != lower_case_name) continue;
        std::string_view rest = value;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            std::string_view item = rest.substr(0, comma);
            rest.remove_prefix(std::min(comma + 1, rest.size()));
            while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
            while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
            if (!item.empty()) out.emplace_back(item);
        }
    }
    return out;
}

bool wants_upgrade(const http::Request& request) {
    const auto connection = listed(request, "connection");
    return !request.header("upgrade").empty() &&
           std::any_of(connection.begin(), connection.end(),
                       [](const std::string& item) { return lower_case(item) == "upgrade"; });
}

bool wants_websocket(const http::Request& request) {
    return wants_upgrade(request) && lower_case(request.header("upgrade")) == "websocket";
}

Headers upgrade_headers(const http::Request& request) {
    static constexpr std::array<std::string_view, 7> kPassed = {
        "upgrade",
        "x-stream-protocol-version",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "origin"};
    Headers out;
    out.emplace_back("Connection", "Upgrade");
    for (const auto& header : request.headers) {
        if (std::find(kPassed.begin(), kPassed.end(), header.first) != kPassed.end()) {
            out.push_back(header);
        }
    }
    return out;
}

void relay_body(std::shared_ptr<http::ByteStream> body, std::shared_ptr<http::Responder> responder) {
    std::make_shared<BodyRelay>(std::move(body), std::move(responder))->turn();
}

void relay_answer(const http::DialAnswer& answer, const std::shared_ptr<http::Responder>& responder) {
    http::Response response;
    response.status = answer.status;
    const std::string_view type = answer.header("content-type");
    if (!type.empty()) response.headers.emplace_back("Content-Type", type);
    http::read_all(answer.stream, kMaxErrorBodyBytes,
                   [responder, response = std::move(response)](std::string body) mutable {
                       response.body = std::move(body);
                       responder->send(std::move(response));
                   });
}

void relay_upgrade(http::Dialer& dialer, http::DialRequest request,
                   const std::shared_ptr<http::Responder>& responder,
                   std::function<http::Response(const Error&)> on_error, const OnAnswer& on_answer) {
    auto end = dialer.dial(std::move(request), [responder, on_error = std::move(on_error), on_answer](
                                                       Result<http::DialAnswer> answer) {
        if (!answer) {
            responder->send(on_error(answer.error()));
            return;
        }
        if (answer->status != 101) {
            on_answer(std::move(*answer), responder);
            return;
        }
        http::Response head;
        head.status = 101;
        for (auto& header : answer->headers) {
            if (header.first != "connection" && header.first != "content-length") {
                head.headers.push_back(std::move(header));
            }
        }
        responder->upgrade(std::move(head), [far = answer->stream](
                                                std::shared_ptr<http::ByteStream> near) {
            if (near) {
                http::pump(std::move(near), far);
            } else {
                far->close();
            }
        });
    });
    responder->on_close(std::move(end));
}

}  // namespace sluice::streaming
