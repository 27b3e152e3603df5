// Server-side apply. Expectations are Kubernetes' documentation of it and what kube-apiserver 1.32 keeps for the same
// writes.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec/apply/managers.h"
#include "api/codec/apply/schema.h"
#include "api/codec/apply/typed.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace appsv1 = ::k8s::io::api::apps::v1;
namespace json = boost::json;

// Members in any order; quotes as '.
json::value parse(std::string text) {
    for (char& c : text) {
        if (c == '\'') c = '"';
    }
    return json::parse(text);
}

std::string fields(const std::string& text, const google::protobuf::Descriptor& type) {
    ApplySchema schema;
    const auto out = fields_of(parse(text), type, schema);
    return out ? out->to_json() : out.error().message;
}

std::string with_quotes(std::string text) {
    for (char& c : text) {
        if (c == '\'') c = '"';
    }
    return text;
}

const google::protobuf::Descriptor& config_map() { return *corev1::ConfigMap::descriptor(); }
const google::protobuf::Descriptor& pod() { return *corev1::Pod::descriptor(); }
const google::protobuf::Descriptor& deployment() { return *appsv1::Deployment::descriptor(); }
const google::protobuf::Descriptor& service() { return *corev1::Service::descriptor(); }

// An object and its managers, written one after another.
struct World {
    explicit World(const google::protobuf::Descriptor& of) : type(of) {}
    const google::protobuf::Descriptor& type;
    json::value object = json::object();
    Managers managers;

    // Empty: done. Else "manager: field field; ...", or the error.
    std::string apply(const std::string& manager, const std::string& config, bool force = false) {
        ApplyOptions options;
        options.manager = {manager, ManagerOperation::kApply, "v1", ""};
        options.force = force;
        options.now = "now";
        const auto done = apply_config(&object, parse(config), type, options, &managers);
        if (!done) return done.error().message;
        std::string out;
        for (const auto& conflict : *done) {
            out += (out.empty() ? "" : "; ") + conflict.manager.name + ":";
            for (const auto& field : conflict.fields) out += " " + field;
        }
        return out;
    }
    void update(const std::string& manager, const std::string& written) {
        const json::value next = parse(written);
        ApplySchema schema;
        auto change = compared(object, next, type, schema);
        ASSERT_TRUE(change);
        record_update(owned_change(std::move(*change), {}), {manager, ManagerOperation::kUpdate, "v1", ""}, "now",
                      &managers);
        object = next;
    }
    std::string owned(const std::string& manager) const {
        for (const auto& [key, entry] : managers) {
            if (key.name == manager) return entry.fields.to_json();
        }
        return "none";
    }
    bool is(const std::string& text) const { return object == parse(text); }
    std::string shown() const { return json::serialize(object); }
};

TEST(FieldSets, AsKubernetesWritesThem) {
    const std::string text = with_quotes(
        "{'f:metadata':{'f:labels':{'.':{},'f:app':{}}},'f:spec':{'f:containers':{'k:{\\'name\\':\\'web\\'}':{'.':{},"
        "'f:image':{}}},'f:finalizers':{'v:\\'a\\'':{}}}}");
    const auto set = FieldSet::from_json(text);
    ASSERT_TRUE(set) << set.error().message;
    EXPECT_EQ(set->to_json(), text);
    EXPECT_EQ(FieldSet::from_json(R"({"k:{\"b\":1,\"a\":2}":{}})")->to_json(), R"({"k:{\"a\":2,\"b\":1}":{}})");
    for (const char* bad : {"[]", "{\"f\":{}}", "{\"x:a\":{}}", "{\"f:a\":1}", "{\"k:1\":{}}", "{\"i:a\":{}}", "{"}) {
        EXPECT_FALSE(FieldSet::from_json(bad)) << bad;
    }
}

TEST(Fields, OfAnObject) {
    EXPECT_EQ(fields("{'metadata':{'labels':{'a':'1'}},'data':{'key':'v'}}", config_map()),
              with_quotes("{'f:data':{'f:key':{}},'f:metadata':{'f:labels':{'f:a':{}}}}"));
    EXPECT_EQ(fields("{'spec':{'containers':[{'name':'web','image':'x','ports':[{'containerPort':80}],"
                     "'args':['a']}],'nodeSelector':{'a':'b'}}}",
                     pod()),
              with_quotes("{'f:spec':{'f:containers':{'k:{\\'name\\':\\'web\\'}':{'.':{},'f:args':{},'f:image':{},"
                          "'f:name':{},'f:ports':{'k:{\\'containerPort\\':80,\\'protocol\\':\\'TCP\\'}':{'.':{},"
                          "'f:containerPort':{}}}}},'f:nodeSelector':{}}}"));
    // A selector is one thing, and so is an empty map.
    EXPECT_EQ(fields("{'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':{}}}}}",
                     deployment()),
              with_quotes("{'f:spec':{'f:selector':{},'f:template':{'f:metadata':{'f:labels':{}}}}}"));
    EXPECT_NE(fields("{'spec':{'containers':[{'image':'x'}]}}", pod()).find("omits all key fields [\"name\"]"),
              std::string::npos);
}

TEST(Apply, MakesAndChanges) {
    World world(config_map());
    EXPECT_EQ(world.apply("m1", "{'data':{'a':'1','b':'1'}}"), "");
    EXPECT_TRUE(world.is("{'data':{'a':'1','b':'1'}}")) << world.shown();
    EXPECT_EQ(world.owned("m1"), with_quotes("{'f:data':{'f:a':{},'f:b':{}}}"));
    EXPECT_EQ(world.apply("m1", "{'data':{'a':'2','b':'1'}}"), "");
    EXPECT_TRUE(world.is("{'data':{'a':'2','b':'1'}}")) << world.shown();
}

TEST(Apply, ConflictsAndForce) {
    World world(config_map());
    world.apply("m1", "{'data':{'a':'1','b':'1'}}");
    EXPECT_EQ(world.apply("m2", "{'data':{'a':'2'}}"), "m1: .data.a");
    EXPECT_TRUE(world.is("{'data':{'a':'1','b':'1'}}")) << world.shown();
    EXPECT_EQ(world.owned("m2"), "none");
    // The same value is no conflict: both own it.
    EXPECT_EQ(world.apply("m2", "{'data':{'a':'1'}}"), "");
    EXPECT_EQ(world.owned("m1"), with_quotes("{'f:data':{'f:a':{},'f:b':{}}}"));
    EXPECT_EQ(world.owned("m2"), with_quotes("{'f:data':{'f:a':{}}}"));
    EXPECT_EQ(world.apply("m2", "{'data':{'a':'2'}}", true), "");
    EXPECT_TRUE(world.is("{'data':{'a':'2','b':'1'}}")) << world.shown();
    EXPECT_EQ(world.owned("m1"), with_quotes("{'f:data':{'f:b':{}}}"));
}

TEST(Apply, WhatIsLetGoIsRemovedUnlessAnotherOwnsIt) {
    World world(config_map());
    world.apply("m1", "{'metadata':{'labels':{'x':'1'}},'data':{'a':'1','b':'1'}}");
    world.apply("m2", "{'data':{'b':'1'}}");
    EXPECT_EQ(world.apply("m1", "{'data':{'c':'1'}}"), "");
    EXPECT_TRUE(world.is("{'data':{'b':'1','c':'1'}}")) << world.shown();
    EXPECT_EQ(world.owned("m1"), with_quotes("{'f:data':{'f:c':{}}}"));
    // The last one takes it along.
    EXPECT_EQ(world.apply("m2", "{}"), "");
    EXPECT_TRUE(world.is("{'data':{'c':'1'}}")) << world.shown();
    EXPECT_EQ(world.owned("m2"), "none");
}

TEST(Apply, ElementsOfKeyedLists) {
    World world(pod());
    world.apply("m1", "{'spec':{'containers':[{'name':'a','image':'1'},{'name':'b','image':'1'}]}}");
    EXPECT_EQ(world.apply("m2", "{'spec':{'containers':[{'name':'c','image':'1'}]}}"), "");
    EXPECT_TRUE(world.is("{'spec':{'containers':[{'name':'a','image':'1'},{'name':'b','image':'1'},"
                         "{'name':'c','image':'1'}]}}"))
        << world.shown();
    EXPECT_EQ(world.apply("m2", "{'spec':{'containers':[{'name':'a','image':'2'}]}}"),
              "m1: .spec.containers[name=\"a\"].image");
    EXPECT_EQ(world.apply("m1", "{'spec':{'containers':[{'name':'b','image':'1'}]}}"), "");
    EXPECT_TRUE(world.is("{'spec':{'containers':[{'name':'b','image':'1'},{'name':'c','image':'1'}]}}"))
        << world.shown();
    const std::string twice = world.apply("m3", "{'spec':{'containers':[{'name':'x'},{'name':'x'}]}}");
    EXPECT_NE(twice.find("duplicate entries for key"), std::string::npos) << twice;
}

TEST(Apply, OrderOfMergedLists) {
    World world(pod());
    world.update("k", "{'spec':{'containers':[{'name':'a'},{'name':'b'},{'name':'c'},{'name':'d'}]}}");
    EXPECT_EQ(world.apply("m", "{'spec':{'containers':[{'name':'d'},{'name':'x'},{'name':'b'}]}}"), "");
    EXPECT_TRUE(world.is("{'spec':{'containers':[{'name':'a'},{'name':'c'},{'name':'d'},{'name':'x'},{'name':'b'}]}}"))
        << world.shown();
}

TEST(Apply, ListsAndSelectorsAsAWhole) {
    World world(pod());
    world.apply("m1", "{'spec':{'containers':[{'name':'a','args':['1','2']}],'nodeSelector':{'x':'1'}}}");
    EXPECT_EQ(world.apply("m2", "{'spec':{'containers':[{'name':'a','args':['3']}]}}"),
              "m1: .spec.containers[name=\"a\"].args");
    EXPECT_EQ(world.apply("m2", "{'spec':{'nodeSelector':{'y':'1'}}}", true), "");
    EXPECT_TRUE(world.is("{'spec':{'containers':[{'name':'a','args':['1','2']}],'nodeSelector':{'y':'1'}}}"))
        << world.shown();
}

TEST(Apply, ASetOfFinalizers) {
    World world(config_map());
    world.apply("m1", "{'metadata':{'finalizers':['a','b']}}");
    EXPECT_EQ(world.apply("m2", "{'metadata':{'finalizers':['c']}}"), "");
    EXPECT_EQ(world.apply("m1", "{'metadata':{'finalizers':['b']}}"), "");
    EXPECT_TRUE(world.is("{'metadata':{'finalizers':['b','c']}}")) << world.shown();
}

TEST(Update, OwnsWhatItChanges) {
    World world(deployment());
    world.update("kubectl", "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'web','uid':'1'},"
                            "'spec':{'replicas':3,'paused':true}}");
    // The server's own metadata is nobody's.
    EXPECT_EQ(world.owned("kubectl"), with_quotes("{'f:spec':{'.':{},'f:paused':{},'f:replicas':{}}}"));
    world.update("hpa", "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'web','uid':'1'},"
                        "'spec':{'replicas':5,'paused':true}}");
    EXPECT_EQ(world.owned("kubectl"), with_quotes("{'f:spec':{'.':{},'f:paused':{}}}"));
    EXPECT_EQ(world.owned("hpa"), with_quotes("{'f:spec':{'f:replicas':{}}}"));
    // An apply that gives replicas meets the autoscaler; one that does not leaves them alone.
    EXPECT_EQ(world.apply("ci", "{'spec':{'replicas':3}}"), "hpa: .spec.replicas");
    EXPECT_EQ(world.apply("ci", "{'spec':{'paused':true}}"), "");
    world.update("x", "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'web','uid':'1'},'spec':{}}");
    EXPECT_EQ(world.owned("hpa"), "none");
    EXPECT_EQ(world.owned("ci"), "none");
}

TEST(Update, NothingChangedNothingOwned) {
    World world(config_map());
    world.update("a", "{'data':{'k':'1'}}");
    world.update("b", "{'data':{'k':'1'}}");
    EXPECT_EQ(world.owned("b"), "none");
}

TEST(Apply, AKeyOfTheSameValueTwice) {
    World world(service());
    // Stored by an update, which does not mind: two protocols make two ports of one number.
    world.update("k", "{'spec':{'ports':[{'port':53,'protocol':'TCP'},{'port':53,'protocol':'UDP'}]}}");
    EXPECT_EQ(world.apply("m", "{'spec':{'ports':[{'port':53,'protocol':'UDP','name':'dns'}]}}"), "");
    EXPECT_TRUE(world.is("{'spec':{'ports':[{'port':53,'protocol':'TCP'},"
                         "{'port':53,'protocol':'UDP','name':'dns'}]}}"))
        << world.shown();
}

}  // namespace
}  // namespace sluice::codec
