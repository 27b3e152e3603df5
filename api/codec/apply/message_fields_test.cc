// Fields taken from messages. Expectations: what kube-apiserver keeps (recorded requests, Kubernetes' documentation,
// its own test data), and the same taken from JSON trees, which is another way to the same sets.
#include "api/codec/apply/message_fields.h"

#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include "api/codec/apply/entries.h"
#include "api/codec/apply/managers.h"
#include "api/codec/apply/schema.h"
#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace appsv1 = ::k8s::io::api::apps::v1;

std::string with_quotes(std::string text) {
    for (char& c : text) {
        if (c == '\'') c = '"';
    }
    return text;
}

template <class T>
T object(const std::string& text) {
    T out;
    const auto done = decode_json(with_quotes(text), &out);
    EXPECT_TRUE(done) << done.error().message;
    EXPECT_TRUE(normalise(&out));
    return out;
}

FieldSet status() {
    FieldSet out;
    out.insert_path({"status"});
    return out;
}

// The comparison of JSON trees says the same.
template <class T>
void expect_as_trees(const T& from, const T& to) {
    ApplySchema schema;
    const auto wanted = compared(to_json_value(from), to_json_value(to), *T::descriptor(), schema);
    ASSERT_TRUE(wanted) << wanted.error().message;
    const Comparison got = compared(from, to);
    EXPECT_EQ(got.added.to_json(), wanted->added.to_json());
    EXPECT_EQ(got.modified.to_json(), wanted->modified.to_json());
    EXPECT_EQ(got.removed.to_json(), wanted->removed.to_json());
}

template <class T>
std::string created(const T& made) {
    const Comparison change = owned_change(compared(T(), made), status());
    const std::string out = created_fields(made, status());
    EXPECT_EQ(out, change.added.united(change.modified).to_json());
    expect_as_trees(T(), made);
    return out;
}

TEST(CreatedFields, AsRecorded) {
    const std::string recorded = "{'metadata':{'name':'a','namespace':'ho','uid':'1'},'data':{'k':'v'}}";
    EXPECT_EQ(created(object<corev1::ConfigMap>(recorded)),
              with_quotes("{'f:data':{'.':{},'f:k':{}}}"));
    EXPECT_EQ(created(corev1::ConfigMap()), "{}");
}

// kubectl create deployment, as Kubernetes documents what comes of it: structs are nobody's, pointers and lists that
// were not there are.
TEST(CreatedFields, OfADeployment) {
    const auto made = object<appsv1::Deployment>(
        "{'metadata':{'name':'d','labels':{'app':'nginx'},'annotations':{'a':'b'}},'spec':{'replicas':1,"
        "'selector':{'matchLabels':{'app':'nginx'}},'strategy':{'type':'RollingUpdate','rollingUpdate':"
        "{'maxUnavailable':'25%','maxSurge':'25%'}},'template':{'metadata':{'labels':{'app':'nginx'}},'spec':"
        "{'containers':[{'name':'nginx','image':'nginx','ports':[{'containerPort':443,'protocol':'TCP'},"
        "{'containerPort':80,'protocol':'TCP'}]}],'securityContext':{},'dnsPolicy':'ClusterFirst'}}}}");
    EXPECT_EQ(
        created(made),
        with_quotes(
            "{'f:metadata':{'f:annotations':{'.':{},'f:a':{}},'f:labels':{'.':{},'f:app':{}}},"
            "'f:spec':{'f:replicas':{},"
            "'f:selector':{},'f:strategy':{'f:rollingUpdate':{'.':{},'f:maxSurge':{},'f:maxUnavailable':{}},"
            "'f:type':{}},"
            "'f:template':{'f:metadata':{'f:labels':{'.':{},'f:app':{}}},'f:spec':{'f:containers':{'k:{\\'name\\':"
            "\\'nginx\\'}':{'.':{},'f:image':{},'f:name':{},'f:ports':{'.':{},'k:{\\'containerPort\\':80,"
            "\\'protocol\\':"
            "\\'TCP\\'}':{'.':{},'f:containerPort':{},'f:protocol':{}},'k:{\\'containerPort\\':443,\\'protocol\\':"
            "\\'TCP\\'}':{'.':{},'f:containerPort':{},'f:protocol':{}}},'f:resources':{}}},'f:dnsPolicy':{},"
            "'f:securityContext':{}}}}}"));
}

TEST(CreatedFields, WithoutWhatAnotherPartWrites) {
    const auto made = object<corev1::Service>(
        "{'metadata':{'name':'s','finalizers':['b','a']},'spec':{'ports':[{'port':80,'protocol':'TCP',"
        "'targetPort':80}]},"
        "'status':{'loadBalancer':{'ingress':[{'ip':'1.2.3.4'}]}}}");
    EXPECT_EQ(created(made),
              with_quotes("{'f:metadata':{'f:finalizers':{'.':{},'v:\\'a\\'':{},'v:\\'b\\'':{}}},'f:spec':{'f:ports':"
                          "{'.':{},'k:{\\'port\\':80,\\'protocol\\':\\'TCP\\'}':{'.':{},'f:port':{},'f:protocol':{},"
                          "'f:targetPort':{}}}}}"));
}

TEST(CreatedFields, KeysThatRepeatAreOne) {
    const auto made = object<corev1::Service>(
        "{'spec':{'ports':[{'port':80,'name':'a'},{'port':80,'name':'b'},{'port':81,'name':'c'}]}}");
    EXPECT_NE(created(made).find(with_quotes("'k:{\\'port\\':80,\\'protocol\\':\\'TCP\\'}':{},'k:")), std::string::npos)
        << created(made);
}

TEST(Compared, OneFieldOfMany) {
    const std::string text =
        "{'metadata':{'name':'p','labels':{'a':'1','b':'2'}},'spec':{'nodeName':'n','containers':[{'name':'c',"
        "'image':'i',"
        "'env':[{'name':'E','value':'1'}],'args':['x']},{'name':'d','image':'j'}],'tolerations':[{'key':'k'}]}}";
    const auto from = object<corev1::Pod>(text);
    auto to = from;
    EXPECT_TRUE(compared(from, to).added.empty() && compared(from, to).modified.empty());
    to.mutable_spec()->mutable_containers(1)->set_image("k");
    to.mutable_spec()->mutable_containers(0)->mutable_env(0)->set_value("2");
    (*to.mutable_metadata()->mutable_labels())["c"] = "3";
    to.mutable_metadata()->mutable_labels()->erase("a");
    to.mutable_spec()->clear_nodename();
    to.mutable_spec()->mutable_tolerations(0)->set_key("other");
    const Comparison change = compared(from, to);
    EXPECT_EQ(change.modified.to_json(),
              with_quotes("{'f:spec':{'f:containers':{'k:{\\'name\\':\\'c\\'}':{'f:env':{'k:{\\'name\\':\\'E\\'}':"
                          "{'f:value':{}}}},'k:{\\'name\\':\\'d\\'}':{'f:image':{}}},'f:tolerations':{}}}"));
    EXPECT_EQ(change.added.to_json(), with_quotes("{'f:metadata':{'f:labels':{'f:c':{}}}}"));
    EXPECT_EQ(change.removed.to_json(),
              with_quotes("{'f:metadata':{'f:labels':{'f:a':{}}},'f:spec':{'f:nodeName':{}}}"));
    expect_as_trees(from, to);
    // Elements in another order are no change.
    auto turned = from;
    turned.mutable_spec()->mutable_containers()->SwapElements(0, 1);
    EXPECT_TRUE(compared(from, turned).modified.empty());
    expect_as_trees(from, turned);
    // A null and an empty struct differ, and so do absent and empty ones.
    auto hollow = from;
    hollow.mutable_spec()->mutable_securitycontext();
    EXPECT_EQ(compared(from, hollow).added.to_json(), with_quotes("{'f:spec':{'f:securityContext':{}}}"));
    expect_as_trees(from, hollow);
    expect_as_trees(hollow, from);
    expect_as_trees(from, corev1::Pod());
}

TEST(Entries, ThereAndBack) {
    auto made = object<corev1::ConfigMap>(
        "{'metadata':{'managedFields':[{'manager':'b','operation':'Update','apiVersion':'v1','time':"
        "'2024-01-02T03:04:05Z','fieldsType':'FieldsV1','fieldsV1':{'f:data':{'f:k':{}}}},"
        "{'manager':'a','operation':'Apply','apiVersion':'v1','fieldsType':'FieldsV1','fieldsV1':{'f:data':{}},"
        "'subresource':'status'}]}}");
    auto managers = read_managers(made.metadata());
    ASSERT_TRUE(managers) << managers.error().message;
    const std::string before = encode_json(made);
    write_managers(*managers, made.mutable_metadata());
    // Applies come first.
    EXPECT_EQ(made.metadata().managedfields(0).manager(), "a");
    EXPECT_EQ(made.metadata().managedfields(1).time().seconds(), 1704164645);
    EXPECT_EQ(encode_json(made).size(), before.size());
    for (const char* bad : {"{'operation':'X'}", "{'operation':'Update'}", "{'operation':'Update','apiVersion':'v1'}",
                            "{'operation':'Update','apiVersion':'v1','fieldsType':'FieldsV2'}",
                            "{'operation':'Update','apiVersion':'v1','fieldsType':'FieldsV1','fieldsV1':{'x':{}}}"}) {
        const auto broken = object<corev1::ConfigMap>("{'metadata':{'managedFields':[" + std::string(bad) + "]}}");
        EXPECT_FALSE(read_managers(broken.metadata())) << bad;
    }
    EXPECT_TRUE(resets_managers(object<corev1::ConfigMap>("{'metadata':{'managedFields':[{}]}}").metadata()));
}

TEST(Managers, OldUpdatesAreMerged) {
    Managers managers;
    for (int i = 0; i < 12; ++i) {
        Comparison change;
        const std::string key = "k" + std::to_string(i);
        change.added.insert_path({"data", key});
        record_update(change, {"m" + std::to_string(i), ManagerOperation::kUpdate, "v1", ""},
                      "2024-01-01T00:00:" + std::to_string(10 + i) + "Z", &managers);
    }
    EXPECT_EQ(managers.size(), kMaxUpdateManagers);
    const auto bucket = managers.find({kOldUpdatesManager, ManagerOperation::kUpdate, "v1", ""});
    ASSERT_NE(bucket, managers.end());
    EXPECT_EQ(bucket->second.fields.to_json(), with_quotes("{'f:data':{'f:k0':{},'f:k1':{},'f:k2':{}}}"));
    EXPECT_EQ(bucket->second.time, "2024-01-01T00:00:12Z");
}

TEST(Check, InKubernetesWords) {
    const auto check = [](const std::string& text) {
        const auto done = check_typed(*parse_json(with_quotes(text)), *appsv1::Deployment::descriptor());
        return done ? std::string() : done.error().message;
    };
    EXPECT_EQ(check("{'kind':'Deployment','apiVersion':'apps/v1','metadata':{'labels':{'a':'b'}},'spec':{}}"), "");
    EXPECT_EQ(check("{'spec':{'foo':1}}"), ".spec.foo: field not declared in schema");
    EXPECT_EQ(check("{'spec':{'replicas':'1'}}"), ".spec.replicas: expected numeric (int or float), got string");
    EXPECT_EQ(check("{'metadata':{'labels':{'a':1}}}"),
              ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}");
    EXPECT_EQ(check("{'spec':{'template':{'spec':{'containers':[{'name':'a'},{'name':'a'}]}}}}"),
              ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]");
    EXPECT_EQ(check("{'spec':{'paused':1,'replicas':'x'}}"),
              "errors:\n  .spec.paused: expected boolean,"
              " got &{1}\n  .spec.replicas: expected numeric (int or float), got "
              "string");
}

}  // namespace
}  // namespace sluice::codec
