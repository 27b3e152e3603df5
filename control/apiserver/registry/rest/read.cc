// get and list. Lists are read at one revision from memory; a selective list reads on in batches until the page is
// full, so that one request with a limit never looks at more than it must.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <chrono>

#include "api/codec/json_transcode.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/continue_token.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/rest/selection.h"
#include "control/apiserver/registry/rest/verbs.h"

namespace sluice::registry {

namespace {

// How long a list waits for a version that is not there yet, as kube-apiserver does.
constexpr std::chrono::milliseconds kFutureVersionWait{3000};
constexpr std::chrono::milliseconds kFutureVersionPoll{50};
// Keys looked at in one step of a selective list.
constexpr std::uint64_t kListBatch = 1000;

struct ListRequest {
    CallPtr call;
    ListOptions options;
    Selection selection;
    store::Revision at = 0;  // 0: the newest
    std::string after;       // an absolute key
};

StatusError expired_list(const Selection& selection, const std::string& after,
                         bool from_token) {
    StatusError error = expired(
        from_token
            ? "The provided continue parameter is too old to display a consistent list result. You "
              "can start a new list without the continue parameter, or use the continue token in "
              "this response to retrieve the remainder of the results. Continuing with the "
              "provided token results in an inconsistent list - objects that were created, "
              "modified, or deleted between the time the first chunk was returned and now may show "
              "up in the list."
            : "The resourceVersion for the provided list is too old.");
    if (from_token) {
        ContinueToken token;
        token.inconsistent = true;
        token.after = after.substr(selection.prefix().size());
        error.continue_token = token.encode();
    }
    return error;
}

Answer<void> add_items(const ListRequest& list, const std::vector<store::KeyValue>& items,
                       std::uint64_t limit, ListPage* page, std::string* last, bool* full) {
    Core& core = *list.call->core;
    const codec::KindInfo& kind = list.call->strategy->kind();
    auto converted = read_converted(core, kind, items);
    if (!converted) return refuse(std::move(converted).error());
    for (std::size_t i = 0; i < items.size(); ++i) {
        const store::KeyValue& item = items[i];
        if (limit != 0 && page->items.size() == limit) {
            *full = true;
            return {};
        }
        *last = item.key;
        if (!list.selection.covers_key(item.key)) continue;
        auto object = converted->empty() ? core.cache.get(kind, item.mod_revision, *item.value)
                                         : Answer<ObjectPtr>((*converted)[i]);
        if (!object) return refuse(std::move(object).error());
        if (list.selection.matches(**object)) page->items.push_back(std::move(*object));
    }
    return {};
}

Answer<ListPage> collect(const ListRequest& list) {
    ListPage page;
    const Core& core = *list.call->core;
    const std::uint64_t limit = list.options.limit;
    const bool everything = list.selection.everything();
    std::string after = list.after;
    store::Revision at = list.at;
    while (true) {
        // An exact page reads what it returns; a selective one reads ahead in batches.
        const std::uint64_t batch = limit == 0 ? 0 : (everything ? limit : kListBatch);
        auto range = core.store.range(list.selection.prefix(), after, batch, at);
        if (!range) {
            if (range.error().code == Code::kOutOfRange) {
                return refuse(expired_list(list.selection, after,
                                           !list.options.continue_token.empty()));
            }
            return refuse(from_error(range.error()));
        }
        at = range->revision;
        page.revision = range->revision;
        bool full = false;
        if (auto ok = add_items(list, range->items, limit, &page, &after, &full); !ok) {
            return refuse(std::move(ok).error());
        }
        const bool more = full || range->more;
        if (!more) return page;
        if (limit != 0 && page.items.size() == limit) {
            ContinueToken token;
            token.revision = range->revision;
            token.after = after.substr(list.selection.prefix().size());
            page.continue_token = token.encode();
            // With a selector nobody knows how many more will match.
            if (everything) page.remaining = range->remaining;
            return page;
        }
    }
}

void answer_list(const ListRequest& list) {
    auto page = collect(list);
    if (!page) return list.call->respond(std::move(page).error());
    list.call->respond_list(*page);
}

// Calls `ready` once the store has reached the version, or answers 504.
void wait_for_version(const CallPtr& call, store::Revision wanted, SteadyTime give_up,
                      std::function<void()> ready) {
    const store::Revision current = call->core->store.revision();
    if (current >= wanted) return ready();
    if (std::chrono::steady_clock::now() >= give_up || call->core->stopping) {
        return call->respond(version_too_large(wanted, current));
    }
    call->core->executor.post_at(
        std::chrono::steady_clock::now() + kFutureVersionPoll,
        [call, wanted, give_up, ready = std::move(ready)] {
            resume(*call->core, call->strategy->kind(), [call, wanted, give_up, ready] {
                wait_for_version(call, wanted, give_up, ready);
            });
        });
}

// Calls `ready` when what the store shows is good enough: anything that is as new as `wanted`, or, for a client that
// names no version, the newest there is on any server.
void when_new_enough(const CallPtr& call, bool newest, store::Revision wanted,
                     std::function<void()> ready) {
    const auto give_up = std::chrono::steady_clock::now() + kFutureVersionWait;
    if (!newest || !call->core->store.shared()) {
        return wait_for_version(call, wanted, give_up, std::move(ready));
    }
    call->core->when_newest([call, ready = std::move(ready)](Answer<void> ok) {
        if (!ok) return call->respond(std::move(ok).error());
        resume(*call->core, call->strategy->kind(), ready);
    });
}

Answer<void> place_list(ListRequest* list) {
    const ListOptions& options = list->options;
    if (options.continue_token.empty()) {
        if (options.match == VersionMatch::kExact) list->at = options.revision;
        // Without a match rule, a version with a limit is exact, as the API's table of semantics has it.
        if (options.match == VersionMatch::kUnset && options.limit > 0 && options.revision > 0) {
            list->at = options.revision;
        }
        return {};
    }
    if (!options.resource_version.empty() && options.resource_version != "0") {
        return refuse(
            bad_request("specifying resource version is not allowed when using continue"));
    }
    auto token = ContinueToken::parse(options.continue_token);
    if (!token) return refuse(std::move(token).error());
    list->at = token->revision;
    list->after = list->selection.prefix() + token->after;
    return {};
}

// A larger object is better kept with its text, for whoever asks again.
constexpr std::size_t kMaxTranscodedBytes = 16U << 10U;

// The stored bytes as JSON, without decoding them into an object that nobody else may ask for. False: nothing was
// answered, and the object is needed.
bool answer_from_bytes(const Call& call) {
    const codec::KindInfo& kind = call.strategy->kind();
    const OutputFormat& format = call.format;
    if (format.encoding != Encoding::kJson || format.form != Form::kObject || format.served != nullptr ||
        kind.custom != nullptr) {
        return false;
    }
    const auto found = call.core->store.get(call.key(call.info.name_space, call.info.name));
    if (!found || !*found || (*found)->value->size() > kMaxTranscodedBytes) return false;
    const auto raw = codec::enveloped(*(*found)->value, kind.gvk);
    if (!raw) return false;
    http::Response response;
    const fmt::format_int version((*found)->mod_revision);
    if (!codec::transcode_json(*raw, *kind.prototype->GetDescriptor(), &kind.gvk, {version.data(), version.size()},
                               &response.body)) {
        return false;
    }
    response.body += '\n';
    response.headers.emplace_back("Content-Type", std::string(media_type(format.encoding)));
    call.responder->send(std::move(response));
    return true;
}

}  // namespace

void serve_get(const CallPtr& call) {
    const auto text = call->request->parameter("resourceVersion").value_or("");
    auto version = parse_resource_version(text);
    if (!version) return call->respond(std::move(version).error());
    when_new_enough(call, text.empty(), *version, [call] {
        if (answer_from_bytes(*call)) return;
        auto object =
            read_object(*call->core, *call->strategy, call->info.name_space, call->info.name);
        if (!object) return call->respond(std::move(object).error());
        call->respond(200, **object);
    });
}

Answer<ListPage> list_page(const CallPtr& call, const ListOptions& options, const Selection& selection) {
    ListRequest list{call, options, selection, 0, {}};
    if (auto ok = place_list(&list); !ok) return refuse(std::move(ok).error());
    return collect(list);
}

void serve_list(const CallPtr& call) {
    auto options = parse_list_options(*call->request, false);
    if (!options) return call->respond(std::move(options).error());
    auto selection = Selection::make(*call->strategy, call->info, *options);
    if (!selection) return call->respond(std::move(selection).error());
    auto list = std::make_shared<ListRequest>(
        ListRequest{call, std::move(*options), std::move(*selection), 0, {}});
    if (auto ok = place_list(list.get()); !ok) return call->respond(std::move(ok).error());
    const store::Revision wanted = std::max(list->at, list->options.revision);
    // A page of a list that is read at one version needs that version and no more.
    const bool newest = list->at == 0 && list->options.resource_version.empty();
    when_new_enough(call, newest, wanted, [list] { answer_list(*list); });
}

}  // namespace sluice::registry
