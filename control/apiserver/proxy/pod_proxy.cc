#include "control/apiserver/proxy/pod_proxy.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "control/apiserver/proxy/status.h"
#include "control/http/byte_stream.h"
#include "control/http/dialer.h"
#include "control/http/status_body.h"
#include "control/streaming/exec_translator.h"
#include "control/streaming/upgrade_relay.h"
#include "control/streaming/websocket.h"
#include "control/streaming/websocket_tunnel.h"

namespace sluice::apiserver {
namespace {

using Kind = PodRequest::Kind;
using ResponderPtr = std::shared_ptr<http::Responder>;

class KubeletProxy final : public PodProxy {
public:
    // http: of requests to Pods, Services and nodes themselves; may be null.
    KubeletProxy(std::shared_ptr<const http::ClientTls> tls, ObjectReader reader, std::unique_ptr<HttpProxy> http)
        : tls_(std::move(tls)),
          reader_(std::move(reader)),
          http_(std::move(http)),
          dialer_(http::Dialer::create(kProxyThreads)) {}

    [[nodiscard]] bool handles(const http::Request& request) const override {
        return parse_pod_path(request.path).has_value() || (http_ != nullptr && HttpProxy::handles(request));
    }

    void handle(std::shared_ptr<const http::Request> request, ResponderPtr responder) override {
        const auto pod = parse_pod_path(request->path);
        if (!pod) return http_->handle(request, std::move(responder));
        const bool log = pod->kind == Kind::kLog;
        if (request->method != "GET" && (log || request->method != "POST")) {
            responder->send(http::status_response(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource"));
            return;
        }
        auto target = find_kubelet(*pod, *request, reader_);
        if (!target) {
            responder->send(std::move(target.error()));
        } else if (log) {
            relay_log(*pod, *target, responder);
        } else if (!streaming::wants_upgrade(*request)) {
            responder->send(bad_request("Upgrade request required"));
        } else {
            relay_streams(*pod, *request, *target, responder);
        }
    }

private:
    [[nodiscard]] http::DialRequest dial_request(const KubeletTarget& target) const {
        http::DialRequest out;
        out.address = target.address;
        out.port = target.port;
        out.tls = tls_;
        out.server_names = {target.node};
        out.skip_verify = target.skip_verify;
        out.target = target.target;
        return out;
    }

    void relay_log(const PodRequest& pod, const KubeletTarget& target, const ResponderPtr& responder) {
        if (target.node.empty()) {
            http::Response nothing;
            nothing.status = 204;
            responder->send(std::move(nothing));
            return;
        }
        auto request = dial_request(target);
        std::string url = fmt::format("https://{}:{}{}", target.address, target.port, target.target);
        auto end = dialer_->dial(std::move(request), [responder, name = pod.pod,
                                                      url = std::move(url)](Result<http::DialAnswer> answer) {
            if (!answer) {
                responder->send(
                    unclassified(fmt::format("Get \"{}\": {}", url, answer.error().message)));
                return;
            }
            if (answer->status != 200) {
                http::read_all(answer->stream, streaming::kMaxErrorBodyBytes,
                               [responder, name, status = answer->status](const std::string& body) {
                                   responder->send(kubelet_refusal(status, name, body));
                               });
                return;
            }
            http::Response head;
            head.headers.emplace_back("Content-Type", "text/plain");
            responder->begin_stream(std::move(head));
            streaming::relay_body(answer->stream, responder);
        });
        responder->on_close(std::move(end));
    }

    // WebSocket in the forms that need the API server is ended here; every other one, like SPDY, is the runtime's
    // affair, as with kube-apiserver.
    void relay_streams(const PodRequest& pod, const http::Request& request,
                       const KubeletTarget& target, const ResponderPtr& responder) {
        if (streaming::wants_websocket(request)) {
            const auto offered = streaming::listed(request, "sec-websocket-protocol");
            const char* wanted = pod.kind == Kind::kPortForward ? streaming::kTunnelProtocol
                                                                : streaming::kExecProtocolV5;
            if (std::find(offered.begin(), offered.end(), wanted) != offered.end()) {
                end_websocket(pod, request, target, wanted, responder);
                return;
            }
        }
        auto dial = dial_request(target);
        dial.method = request.method;
        dial.headers = streaming::upgrade_headers(request);
        streaming::relay_upgrade(*dialer_, std::move(dial), responder, dial_failure);
    }

    // The kubelet is asked first, so that a client hears its refusal in HTTP; kubectl then tries SPDY.
    void end_websocket(const PodRequest& pod, const http::Request& request,
                       const KubeletTarget& target, const char* protocol, const ResponderPtr& responder) {
        const std::string_view key = request.header("sec-websocket-key");
        if (request.header("sec-websocket-version") != "13" || !streaming::is_websocket_key(key)) {
            responder->send(bad_request("the WebSocket handshake is malformed"));
            return;
        }
        const bool forward = pod.kind == Kind::kPortForward;
        auto dial = dial_request(target);
        dial.method = "POST";
        dial.headers = {{"Connection", "Upgrade"},
                        {"Upgrade", streaming::kSpdyProtocol},
                        {"X-Stream-Protocol-Version", forward ? streaming::kPortForwardProtocol
                                                              : streaming::kExecProtocolV4},
                        {"Content-Length", "0"}};
        http::Response head;
        head.status = 101;
        head.headers = {{"Upgrade", "websocket"},
                        {"Sec-WebSocket-Accept", streaming::websocket_accept(key)},
                        {"Sec-WebSocket-Protocol", protocol}};
        const Streams& s = target.streams;
        const streaming::ExecStreams streams{s.in, s.out, s.err, s.tty};
        auto end = dialer_->dial(std::move(dial), [responder, head = std::move(head), streams,
                                                   forward](Result<http::DialAnswer> answer) {
            if (!answer) {
                responder->send(dial_failure(answer.error()));
            } else if (answer->status != 101) {
                streaming::relay_answer(*answer, responder);
            } else {
                responder->upgrade(head, [far = answer->stream, streams,
                                          forward](std::shared_ptr<http::ByteStream> client) {
                    if (!client) {
                        far->close();
                    } else if (forward) {
                        streaming::tunnel(std::move(client), far);
                    } else {
                        streaming::translate_exec(std::move(client), far, streams);
                    }
                });
            }
        });
        responder->on_close(std::move(end));
    }

    static http::Response dial_failure(const Error& error) {
        return unclassified(fmt::format("error dialing backend: {}", error.message));
    }

    std::shared_ptr<const http::ClientTls> tls_;
    ObjectReader reader_;
    std::unique_ptr<HttpProxy> http_;
    std::unique_ptr<http::Dialer> dialer_;
};

}  // namespace

Result<std::unique_ptr<PodProxy>> PodProxy::create(const PodProxyOptions& options,
                                                   ObjectReader reader) {
    SLUICE_TRY_ASSIGN(auto tls,
                      http::ClientTls::create(options.ca_pem, options.certificate_pem,
                                              options.private_key_pem));
    std::unique_ptr<HttpProxy> http;
    if (options.pass) {
        SLUICE_TRY_ASSIGN(http, HttpProxy::create(tls, reader, options.pass));
    }
    return std::unique_ptr<PodProxy>(
        std::make_unique<KubeletProxy>(std::move(tls), std::move(reader), std::move(http)));
}

}  // namespace sluice::apiserver
