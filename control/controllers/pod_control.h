// Pods in the hands of the controllers that own them: made from a template, adopted, let go,
// deleted.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/codec/selector.h"
#include "control/controllers/controller.h"
#include "control/controllers/expectations.h"
#include "control/controllers/pod_status.h"

namespace sluice::controllers {

// The first batch of creations; each that succeeds wholly is followed by one of twice its size, so
// that a quota or a template that is always refused costs one request and not a thousand
// (client-go's slow start).
inline constexpr int kSlowStartBatch = 1;
// Creations and deletions of one reconcile; the rest is the next one's.
inline constexpr int kMaxBurst = 500;

class PodControl {
public:
    // Indexes the pods of the shared informer. REQUIRES: informers have not started.
    PodControl(Context& context, const codec::KindInfo& owner_kind);

    [[nodiscard]] client::Informer& pods() const { return pods_; }
    // Pods that name the owner as their controller, and those of its namespace that name none.
    [[nodiscard]] Pods candidates(const google::protobuf::Message& owner) const;
    // Of the candidates those that are the owner's: orphans that the selector matches are adopted,
    // pods of the owner that it does not match are let go. The first error ends it.
    // Before the first adoption the owner is read from the server: one whose deletion the cache
    // does not show yet would take back what the garbage collector has just orphaned.
    Result<Pods> claim(const google::protobuf::Message& owner, const codec::LabelSelector& selector,
                       const Pods& candidates);

    struct Done {
        int count = 0;
        std::optional<Error> error;  // the first one; what was not done is not counted
        // Of remove: keys of pods whose deletion no informer will tell of, because it failed or
        // because they were gone before; expectations of them are to be lowered.
        std::vector<std::string> unseen;
    };
    // customize: changes the nth pod before it is made. Events SuccessfulCreate and FailedCreate.
    Done create(const google::protobuf::Message& owner,
                const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template, int count,
                const std::function<void(int index, Pod* pod)>& customize = {});
    // Events SuccessfulDelete and FailedDelete. A pod that is gone already counts as deleted.
    Done remove(const google::protobuf::Message& owner, const Pods& pods);

private:
    Context& context_;
    const codec::KindInfo& owner_kind_;
    client::Informer& pods_;
};

// An owner reference to the object as its controller.
void set_controller_reference(const google::protobuf::Message& owner, const codec::KindInfo& kind,
                              google::protobuf::Message* object);
// A patch that makes the owner the controller, or that takes its reference away; both fail when the
// object is another one of the same name.
[[nodiscard]] std::string adoption_patch(const google::protobuf::Message& owner,
                                         const codec::KindInfo& kind, const std::string& uid);
[[nodiscard]] std::string release_patch(const std::string& owner_uid, const std::string& uid);

// What the server said, without the request that the client puts before it: events and conditions
// show people the words that Kubernetes shows them.
[[nodiscard]] std::string words_of(const client::ApiError& error);

// Whether an owner in a cache is still there and not being deleted, asked of the server itself.
[[nodiscard]] Result<void> may_adopt(client::Client& client, const codec::KindInfo& kind,
                                     const google::protobuf::Message& owner);

// Whether the labels of the object match.
[[nodiscard]] bool selects(const codec::LabelSelector& selector,
                           const google::protobuf::Message& object);

// Feeds expectations and a queue from the changes of pods: the one handler that all owners of pods
// need. owners_of: the keys of those that might adopt an orphan; asked when it becomes one and when
// its labels change.
void follow_pods(client::Informer& pods, client::WorkQueue& queue, Expectations& expectations,
                 const codec::KindInfo& owner_kind,
                 std::function<std::vector<std::string>(const Pod& orphan)> owners_of);

}  // namespace sluice::controllers
