// Fuzzes the front end of HTTP/2: whatever a client sends, nothing crashes, nothing is left behind, and what is
// answered is bounded. The session has no socket, so that millions of connections can be tried.
#include <openssl/ssl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "control/http/http2_session_private.h"
#include "control/http/loop_private.h"
#include "control/http/status_body.h"

namespace {

using namespace sluice::http;  // NOLINT: the whole program is about it

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kMaxAnswerBytes = 64U << 20U;

// Handlers of all kinds: at once, as a stream, dropped, refused an upgrade.
void handle(const std::shared_ptr<Request>& request, const std::shared_ptr<Responder>& responder) {
    switch (request->path.size() % 4) {
        case 0:
            responder->send(text_response(200, request->body + request->path));
            break;
        case 1:
            responder->begin_stream({200, {{"X", request->path}}, {}});
            responder->write(request->body + "chunk");
            responder->end_stream();
            break;
        case 2:
            responder->upgrade({}, [](auto) {});
            break;
        default:
            break;
    }
}

Shared& shared() {
    static Shared* const instance = [] {
        auto* made = new Shared(SSL_CTX_new(TLS_server_method()));
        made->handler = handle;
        return made;
    }();
    return *instance;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string date = "Sun, 06 Nov 1994 08:49:37 GMT";
    CertificateIdentity certificate;
    certificate.identity.user = "fuzz";
    certificate.not_after_s = INT64_MAX;
    {
        Http2Session session(&shared(), &date, "127.0.0.1:1", certificate, [] {});
        std::string out;
        // Mutations of frames rather than of the preface, which everything must begin with.
        bool open = session.receive({kPreface, sizeof(kPreface) - 1}) && session.fill(&out, 1U << 20U);
        std::size_t answered = out.size();
        while (open && size > 0 && !session.is_over()) {
            // The first byte of each piece says how much arrives at once.
            const std::size_t piece = std::min<std::size_t>(size - 1, std::size_t{*data} * 4);
            ++data;
            --size;
            open = session.receive({reinterpret_cast<const char*>(data), piece});
            data += piece;
            size -= piece;
            session.pull();
            out.clear();
            open = open && session.fill(&out, 1U << 20U);
            answered += out.size();
            SLUICE_ASSERT(answered < kMaxAnswerBytes);
        }
        session.drain();
        static_cast<void>(session.fill(&out, 1U << 20U));
    }
    SLUICE_ASSERT(shared().counters.streams.load() == 0);
    return 0;
}
