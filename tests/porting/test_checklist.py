"""What of Pyro 3 is there, rule by rule, and which tests show it; so that nothing is forgotten.

A test is named by its file and its own name, both without ``test_``: ``porting/loops::a_loop_of_single_rounds``.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.support import ROOT

CHECKLIST = {
    "initServer(banner, storageCheck)": (
        "porting/start::a_server_and_a_client_that_say_what_they_are",
        "porting/start::storage_is_checked_for_servers_and_not_for_clients",
    ),
    "initClient(banner)": ("porting/start::a_server_and_a_client_that_say_what_they_are",),
    "implicit initialisation": ("porting/start::who_does_not_begin_explicitly_begins_anyway",),
    "Daemon(protocol, host, port, norange, publishhost)": (
        "porting/daemons::ports_of_the_configuration_and_of_the_arguments",
        "porting/daemons::publishhost_is_what_uris_say",
    ),
    "warning without name server": ("porting/start::a_server_and_a_client_that_say_what_they_are",),
    "useNameServer": ("registrations::objects_are_registered_while_they_are_connected",),
    "connectPersistent": ("registrations::persistent_names_stay_and_keep_their_id",),
    "NameServerLocator().getNS()": ("locator::the_local_name_server_is_found_at_its_port",),
    "hierarchical names, resolve, unregister": ("naming_server::every_documented_operation_through_the_network",),
    "PYRONAME URIs": ("name_cache::a_name_leads_to_its_object",),
    "start output of the name server, URI file": ("starter::what_it_prints_from_start_to_end",),
    "broadcast discovery": (
        "discovery::a_broadcast_is_answered",
        "locator::one_at_another_port_is_found_by_a_broadcast",
    ),
    "ObjBase in three patterns, delegateTo": ("porting/objects::hello_world_in_its_three_patterns",),
    "SynchronizedObjBase": ("porting/objects::calls_of_synchronized_objects_never_overlap",),
    "CallbackObjBase": (
        "porting/callbacks::callbacks_with_one_way_calls_and_clients_that_leave",
        "porting/callbacks::an_error_in_a_callback_object_reaches_both_sides",
    ),
    "connect gives a URI": ("porting/proxies::every_form_of_uri_and_every_way_to_a_proxy",),
    "disconnect by object and by id": (
        "porting/factories::disconnecting_by_object_by_id_and_by_going_through_what_is_registered",
    ),
    "getRegistered": (
        "porting/factories::disconnecting_by_object_by_id_and_by_going_through_what_is_registered",
        "porting/factories::the_daemon_itself_is_asked_for_its_objects",
    ),
    "requestLoop(condition, timeout, others, callback)": (
        "porting/loops::a_loop_with_other_sockets_and_a_condition",
        "porting/daemons::how_servers_end",
    ),
    "handleRequests(timeout, others, callback)": (
        "porting/loops::a_loop_of_single_rounds",
        "porting/loops::a_round_with_other_sockets",
    ),
    "getServerSockets": (
        "porting/loops::everything_in_one_process_in_one_select_loop",
        "examples/examples::ownloop",
    ),
    "AllInOne: threads, and one select loop": (
        "examples/examples::all_in_one_ends_when_all_is_sold",
        "examples/examples::all_in_one_serves_others_until_ctrl_c",
        "eventsvc::in_a_foreign_loop",
    ),
    "waitUntilStarted": (
        "event_starter::other_threads_wait_until_it_is_started",
        "service_starter::who_waits_is_told_that_it_could_not_be_started",
    ),
    "EventServiceStarter": (
        "event_starter::what_it_prints_from_start_to_end",
        "event_starter::it_is_registered_as_long_as_it_runs",
        "event_starter::driven_by_a_foreign_loop",
    ),
    "shutdown, shutdown(True)": (
        "porting/daemons::how_servers_end",
        "porting/factories::disconnecting_by_object_by_id_and_by_going_through_what_is_registered",
    ),
    "the finaliser": ("porting/daemons::a_daemon_that_nobody_refers_to_is_gone_and_its_port_free",),
    "URI from a string": (
        "porting/proxies::every_form_of_uri_and_every_way_to_a_proxy",
        "porting/proxies::malformed_uris",
    ),
    "PYROLOC://": (
        "porting/objects::hello_world_in_its_three_patterns",
        "porting/proxies::after_a_restart_a_pyro_uri_is_stale_and_a_name_is_not",
    ),
    "getProxyForURI, getAttrProxyForURI, getProxy, getAttrProxy": (
        "porting/proxies::every_form_of_uri_and_every_way_to_a_proxy",
        "porting/factories::a_bank_with_accounts_as_proxies_and_a_daemon_in_a_thread",
    ),
    "attributes are read and written, obj.sum = obj.sum + 1": (
        "porting/objects::attributes_and_nested_ones",
        "examples/examples::attributes",
    ),
    "configuration at runtime": (
        "porting/daemons::ports_of_the_configuration_and_of_the_arguments",
        "porting/start::two_logs_with_levels_and_files_that_may_change",
        "porting/single_threaded::the_item_counts_for_the_daemons_that_are_made_while_it_is_set",
    ),
    "Log and UserLogger, and the format of a line": ("porting/start::two_logs_with_levels_and_files_that_may_change",),
    "caller": (
        "porting/sessions::sessions_with_data_on_the_storage_and_the_caller",
        "porting/single_threaded::one_storage_for_all_and_a_caller_for_each",
    ),
    "genguid": ("porting/start::tools_and_modules_that_are_run",),
    "python -m configuration": ("porting/start::tools_and_modules_that_are_run",),
    "python -m test.echoserver, its methods and its name": (
        "porting/start::the_echo_server_as_pyro_3s_users_know_it",
        "echoserver::it_says_where_it_is",
        "echoserver::help",
    ),
    "the echo server's -n and -N": (
        "echoserver::it_has_a_name_at_the_name_server_until_it_ends",
        "echoserver::it_runs_a_name_server_of_its_own",
    ),
    "PYRO_STORAGE": (
        "porting/start::a_server_and_a_client_that_say_what_they_are",
        "porting/start::storage_is_checked_for_servers_and_not_for_clients",
    ),
    "PYRO_PORT, PYRO_PORT_RANGE": ("porting/daemons::ports_of_the_configuration_and_of_the_arguments",),
    "PYRO_TRACELEVEL, PYRO_LOGFILE": (
        "porting/start::two_logs_with_levels_and_files_that_may_change",
        "porting/start::items_come_from_code_the_environment_a_file_and_the_defaults",
    ),
    "PYRO_USER_TRACELEVEL, PYRO_USER_LOGFILE": ("porting/start::two_logs_with_levels_and_files_that_may_change",),
    "publishhost": ("porting/daemons::publishhost_is_what_uris_say",),
    "automatic rebinding": (
        "porting/proxies::rebinding_after_the_connection_was_lost",
        "examples/examples::reconnect",
    ),
    "exceptions of the method are raised in the client": ("porting/failures::exceptions_and_their_tracebacks",),
    "URI files": ("porting/proxies::proxies_and_uris_are_passed_around_among_three_processes",),
}

RULES = {
    1: ("porting/objects::constructors_run_on_the_server_and_both_of_them",),
    2: ("porting/objects::attributes_that_cannot_travel_are_no_harm_while_nobody_reads_them",),
    3: ("porting/objects::what_special_methods_do_is_about_the_proxy",),
    4: ("porting/objects::attributes_and_nested_ones",),
    6: ("porting/failures::classes_of_arguments_are_registered_on_both_sides",),
    7: ("porting/objects::hello_world_in_its_three_patterns",),
    8: ("porting/daemons::how_servers_end",),
    9: ("porting/objects::constructors_run_on_the_server_and_both_of_them",),
    10: (
        "porting/factories::a_bank_with_accounts_as_proxies_and_a_daemon_in_a_thread",
        "porting/factories::transient_objects_that_nobody_calls_are_cleaned_up_and_told",
    ),
    11: ("porting/objects::what_special_methods_do_is_about_the_proxy",),
    12: (
        "porting/callbacks::callbacks_with_one_way_calls_and_clients_that_leave",
        "porting/callbacks::an_error_in_a_callback_object_reaches_both_sides",
    ),
    13: ("porting/objects::what_special_methods_do_is_about_the_proxy",),
    14: ("porting/daemons::a_daemon_that_nobody_refers_to_is_gone_and_its_port_free",),
    15: ("porting/proxies::proxies_and_uris_are_passed_around_among_three_processes",),
    16: (
        "porting/callbacks::a_circle_of_three_servers",
        "porting/single_threaded::a_conversation_gets_an_error_where_it_would_freeze",
    ),
    17: ("porting/factories::disconnecting_by_object_by_id_and_by_going_through_what_is_registered",),
    18: ("porting/objects::attributes_that_cannot_travel_are_no_harm_while_nobody_reads_them",),
    20: ("porting/failures::exceptions_of_classes_that_are_special",),
}
"""By their numbers. The fifth is of the name server, and what the nineteenth is about is dropped."""

MODES = {
    "one instance serves everybody": (
        "objects::one_object_serves_all_clients_and_its_constructor_is_never_called_remotely",
        "porting/sessions::one_object_serves_all_and_calls_of_one_proxy_overlap",
    ),
    "calls overlap, synchronized ones do not": (
        "porting/sessions::one_object_serves_all_and_calls_of_one_proxy_overlap",
        "porting/objects::calls_of_synchronized_objects_never_overlap",
    ),
    "one-way calls are overtaken, or inline": (
        "porting/oneway::whether_later_calls_overtake_them",
        "porting/oneway::the_order_of_those_that_are_not_threaded",
        "porting/single_threaded::oneway_calls_are_inline_whatever_is_configured_for_them",
        "examples/examples::oneway",
    ),
    "no answer, no exception, the result is None": ("porting/oneway::no_answer_no_exception_and_the_result_is_none",),
    "one-way calls are sent over the connection": (
        "porting/oneway::they_need_a_connection_like_others",
        "porting/oneway::those_of_a_program_that_ends_at_once_arrive_in_their_order",
    ),
    "the storage of a session": (
        "porting/sessions::each_proxy_has_a_session_and_it_ends_with_the_proxy",
        "examples/examples::sessions",
    ),
    "caller is who calls, in both modes": (
        "porting/single_threaded::one_storage_for_all_and_a_caller_for_each",
        "porting/oneway::they_see_the_storage_and_the_caller_of_their_session",
    ),
    "initTLS": (
        "porting/single_threaded::one_storage_for_all_and_a_caller_for_each",
        "porting/oneway::they_see_the_storage_and_the_caller_of_their_session",
        "tls::if_inittls_raises_the_sessions_calls_get_the_error",
    ),
    "one-way methods are the proxy's business, passphrases the daemon's": (
        "porting/oneway::no_answer_no_exception_and_the_result_is_none",
        "porting/validators::passphrases",
    ),
    "one call at a time": (
        "porting/single_threaded::one_call_at_a_time_of_all_objects_and_all_clients",
        "porting/single_threaded::synchronized_objects_and_reads_of_attributes",
    ),
    "delegates": ("porting/sessions::delegates_and_plain_functions_find_the_storage_too",),
    "no storage while objects are made": ("porting/sessions::each_proxy_has_a_session_and_it_ends_with_the_proxy",),
    "objects that call objects need the multi-threaded mode": (
        "porting/single_threaded::a_conversation_gets_an_error_where_it_would_freeze",
    ),
    "a proxy that is an argument can be used at once": ("porting/callbacks::a_circle_of_three_servers",),
    "errors of callback objects in both modes": (
        "porting/single_threaded::errors_of_callback_objects_do_not_end_the_loop",
    ),
    "transient objects in both modes": (
        "porting/factories::transient_objects_that_nobody_calls_are_cleaned_up_and_told",
        "porting/single_threaded::transient_objects_are_cleaned_up_although_nobody_calls",
    ),
    "many threads, and daemons in threads": (
        "porting/loops::a_daemon_in_a_thread_of_an_unpatched_program",
        "threads::one_proxy_in_many_threads",
        "threads::two_daemons_in_two_threads_call_each_other_at_the_same_time",
    ),
}
"""Threads, sessions, one-way calls, and PYRO_MULTITHREADED=0."""

DIFFERENCES = {
    "methods that block": ("porting/differences::a_method_that_sleeps_holds_the_others_unless_it_is_gevents_sleep",),
    "methods whose caller gave up": (
        "porting/differences::a_method_whose_caller_gave_up_is_stopped_unless_it_is_shielded",
    ),
    "methods that compute": ("porting/differences::a_method_that_sleeps_holds_the_others_unless_it_is_gevents_sleep",),
    "a daemon outside of its loop": (
        "porting/differences::a_daemon_serves_only_while_its_loop_runs",
        "porting/loops::a_daemon_in_a_thread_of_an_unpatched_program",
    ),
    "thread-local data": ("dispatch::nothing_crosses_from_one_clients_call_into_anothers",),
    "names": (
        "porting/objects::names_of_the_base_stay_with_the_base",
        "porting/differences::private_attributes_are_never_asked_for",
    ),
    "special methods": ("porting/objects::what_special_methods_do_is_about_the_proxy",),
    "constructors": ("porting/objects::constructors_run_on_the_server_and_both_of_them",),
    "objects of other classes": ("porting/differences::any_object_may_be_connected",),
    "names taken twice": ("porting/differences::one_name_belongs_to_one_object",),
    "object ids": ("porting/differences::ids_are_random_digits_in_four_groups",),
    "unknown attributes": ("porting/differences::unknown_attributes_are_no_attributes",),
    "synchronized objects": (
        "synchronize::a_chain_that_comes_back_gets_an_error_that_says_so",
        "synchronize::a_chain_over_two_processes_gets_the_error",
    ),
    "errors of callback objects": ("porting/single_threaded::errors_of_callback_objects_do_not_end_the_loop",),
    "returning an object": ("porting/differences::an_object_that_returns_itself_returns_a_proxy",),
    "transient objects": (
        "porting/single_threaded::transient_objects_are_cleaned_up_although_nobody_calls",
        "objects::a_running_call_keeps_its_object_from_being_reaped",
    ),
    "calls through one proxy": (
        "porting/differences::calls_of_one_proxy_overlap_and_start_in_the_order_made",
        "porting/callbacks::a_conversation_over_one_proxy_and_over_new_ones",
    ),
    "connections": ("porting/differences::proxies_share_a_connection_unless_they_are_told_not_to",),
    "hosts": ("porting/differences::hosts_stay_as_they_are_given_until_a_connection_is_made",),
    "`PYROLOC`": ("porting/proxies::after_a_restart_a_pyro_uri_is_stale_and_a_name_is_not",),
    "equality": ("porting/differences::proxies_for_a_name_are_equal_by_place_and_name",),
    "the URI given to a proxy": ("porting/differences::proxies_take_a_copy_of_their_uri",),
    "copies and pickles": ("porting/differences::copies_keep_all_settings_and_pickles_all_but_who_calls",),
    "attributes of a plain proxy": ("porting/differences::a_proxy_is_no_place_to_keep_things",),
    "timeouts": (
        "porting/failures::timeouts_are_for_the_whole_call_and_spare_the_proxy",
        "porting/differences::a_late_answer_costs_nobody_the_connection",
    ),
    "Ctrl-C in a call": ("porting/loops::a_client_that_is_interrupted_in_a_call_goes_on_with_the_next",),
    "the call after a restart": (
        "remote::a_name_is_asked_for_again_after_a_restart",
        "remote::a_program_that_kept_its_loop_from_running_notices_a_restart_before_it_calls",
    ),
    "`rebindURI`": ("adapter::rebinduri_is_told_when_it_is_denied",),
    "first argument": ("porting/differences::what_daemons_no_longer_take",),
    "interface": ("porting/validators::a_wide_bind_needs_an_answer_to_who_may_connect",),
    "unknown host": ("porting/differences::what_daemons_no_longer_take",),
    "`PYRO_MAXCONNECTIONS`": (
        "porting/daemons::too_many_clients",
        "porting/differences::the_limit_of_connections_holds_whatever_a_validator_says",
    ),
    "`condition`": ("porting/differences::the_condition_is_looked_at_when_something_arrived",),
    "`callback`": ("porting/loops::a_round_with_other_sockets",),
    "`handleRequests`": ("rounds::a_call_that_blocks_goes_on_in_later_rounds",),
    "`getServerSockets`": ("porting/loops::everything_in_one_process_in_one_select_loop",),
    "`shutdown`": ("porting/differences::shutdown_lets_running_calls_end_and_begins_no_new_ones",),
    "unknown objects": ("porting/differences::an_unknown_object_costs_nobody_the_connection",),
    "the named object without name server": ("porting/start::a_server_and_a_client_that_say_what_they_are",),
    "names of servers that crash": (
        "naming::names_of_killed_servers_go_and_those_of_living_ones_stay",
        "naming::a_server_that_comes_back_after_a_crash_has_its_name_at_once",
    ),
    "names of servers that end": (
        "naming::names_of_killed_servers_go_and_those_of_living_ones_stay",
        "registrations::objects_are_registered_while_they_are_connected",
        "registrations::shutdown_with_true_withdraws_at_once_what_does_not_last",
    ),
    "daemons whose loop does not run": ("naming::names_of_killed_servers_go_and_those_of_living_ones_stay",),
    "another name for an object": ("registrations::another_name_takes_the_place_of_the_first",),
    "`disconnect` when the name is gone already": ("registrations::an_operators_removal_stands",),
    "`PYRONAME` URIs": (
        "name_cache::a_name_leads_to_its_object",
        "name_cache::a_server_that_restarts_elsewhere_is_found_again",
    ),
    "`NS.resolve` by a plain proxy": ("naming_server::names_of_raw_clients_are_checked_and_made_absolute",),
    "calls repeated by `NameServerProxy`": ("naming_proxy::only_what_may_run_twice_is_repeated",),
    "the search for a name server": (
        "locator::the_local_name_server_is_found_at_its_port",
        "locator::one_at_another_port_is_found_by_the_file",
        "locator::one_at_another_port_is_found_by_a_broadcast",
        "locator::where_there_is_none_the_error_tells_what_was_tried",
    ),
    "strangers who answer a broadcast": ("locator::only_who_knows_the_passphrase_is_believed",),
    "names that are none": ("naming_server::names_of_raw_clients_are_checked_and_made_absolute",),
    "metadata": ("naming_server::every_documented_operation_through_the_network",),
    "addresses": (
        "naming_server::an_address_that_leads_each_machine_to_itself_is_refused_from_others",
        "registrations::a_loopback_address_is_refused_by_a_remote_name_server",
    ),
    "pairs of name servers": ("naming_server::pairs_are_refused", "starter::roles_of_pairs_are_refused"),
    "`pyro-ns`": (
        "naming_tool::what_it_prints_from_start_to_end",
        "naming_tool::arguments_that_do_not_fit_show_the_usage",
    ),
    "the persistent database": (
        "naming_server::a_persistent_server_keeps_names_in_a_folder_of_its_own",
        "naming::a_kill_in_the_middle_of_registrations_loses_nothing_acknowledged",
    ),
    "`pyro-nsc`": (
        "nsc::resolve_goes_on_after_errors",
        "nsc::there_is_none",
    ),
    "exceptions in the loop of the name server": (
        "discovery::a_validator_that_fails_does_not_end_the_server",
        "discovery::garbage_is_not_answered",
    ),
    "shutdown by broadcast": ("starter::passphrases", "discovery::the_requests"),
    "order of one-way calls": ("porting/oneway::those_of_a_program_that_ends_at_once_arrive_in_their_order",),
    "number of one-way calls": ("dispatch_bounds::calls_of_one_way_methods_are_bounded",),
    "storage of one-way calls": ("porting/oneway::they_see_the_storage_and_the_caller_of_their_session",),
    "one-way by declaration": ("porting/oneway::methods_that_the_server_marks_need_nothing_of_the_client",),
    "inline one-way calls": ("porting/oneway::whether_later_calls_overtake_them",),
    "single-threaded daemons that are called back": (
        "porting/single_threaded::a_conversation_gets_an_error_where_it_would_freeze",
    ),
    "whose it is": ("porting/sessions::each_proxy_has_a_session_and_it_ends_with_the_proxy",),
    "`caller`": (
        "porting/sessions::sessions_with_data_on_the_storage_and_the_caller",
        "porting/validators::users_with_passwords",
    ),
    "`setInitTLS`": ("tls::if_inittls_raises_the_sessions_calls_get_the_error",),
    "outside of calls": ("porting/differences::there_is_no_storage_outside_of_calls",),
    "delegates": ("porting/sessions::delegates_and_plain_functions_find_the_storage_too",),
    "how passphrases are compared": ("porting/validators::passphrases",),
    "the server's part": ("porting/validators::a_client_with_a_passphrase_wants_a_server_that_knows_it",),
    "identifications": ("porting/differences::identifications_are_passphrases_or_pairs_with_a_user",),
    "`token`": ("porting/validators::users_with_passwords",),
    "methods of validators": ("porting/names::names_of_things",),
    "when it is set": ("porting/differences::an_identification_may_be_given_at_any_time",),
    "an empty list of passphrases": ("porting/differences::an_empty_list_of_passphrases_lets_nobody_in",),
    "validators that ask somebody": ("porting/validators::hosts_that_the_operator_is_asked_about",),
    "guessing": ("net/admission::wrong_attempts_are_slowed_down_and_logged_at_most_once_a_second",),
    "`daemon.setTimeout`": ("net/admission::a_client_that_never_answers_the_challenge",),
    "marshalling": (
        "porting/failures::classes_of_arguments_are_registered_on_both_sides",
        "porting/failures::with_pickle_on_both_sides_nothing_is_registered",
    ),
    "what cannot travel": ("porting/failures::classes_of_arguments_are_registered_on_both_sides",),
    "shared and circular structures": (
        "porting/differences::what_stands_in_several_places_arrives_as_copies_and_circles_not_at_all",
    ),
    "size": ("porting/differences::a_message_has_a_greatest_size",),
    "mobile code": ("porting/failures::classes_of_arguments_are_registered_on_both_sides",),
    "nobody listens, unknown host": (
        "porting/failures::a_server_that_is_not_there_and_one_that_ends",
        "porting/differences::hosts_stay_as_they_are_given_until_a_connection_is_made",
    ),
    "the connection was lost since the last call, and cannot be made again": (
        "proxy_calls::a_connection_that_was_lost_and_cannot_be_made_again",
        "porting/proxies::rebinding_after_the_connection_was_lost",
    ),
    "the connection is lost during a call": ("porting/failures::a_server_that_is_not_there_and_one_that_ends",),
    "time is over": ("porting/failures::timeouts_are_for_the_whole_call_and_spare_the_proxy",),
    "the server shuts down": (
        "proxy_calls::calls_that_cross_with_the_goodbye_are_rejected",
        "porting/differences::pyro_3s_classes_catch_what_they_caught",
    ),
    "the server refuses the connection": ("porting/validators::hosts_that_the_operator_is_asked_about",),
    "the object is not there": ("porting/differences::an_unknown_object_costs_nobody_the_connection",),
    "the method is not there, wrong arguments": ("porting/failures::exceptions_of_classes_that_are_special",),
    "an exception of the method": (
        "porting/failures::exceptions_and_their_tracebacks",
        "porting/failures::exceptions_of_classes_that_are_special",
    ),
    "its constructor": ("porting/failures::exceptions_of_classes_that_are_special",),
    "`ImportError` of a method": ("porting/failures::exceptions_of_classes_that_are_special",),
    "`SystemExit` of a method": ("porting/failures::exceptions_of_classes_that_are_special",),
    "a gpyro error that a method lets out": ("dispatch::a_verdict_that_a_method_lets_out_is_none_for_its_caller",),
    "a value that cannot travel": ("porting/failures::classes_of_arguments_are_registered_on_both_sides",),
    "a malformed URI": ("porting/proxies::malformed_uris",),
    "`PYRONAME`, and the name is not there": (
        "name_cache::what_is_not_there_is_told_by_the_call",
        "name_cache::a_server_that_restarts_elsewhere_is_found_again",
    ),
    "`Subscriber`": ("eventsvc::its_daemon_is_for_the_programs_own_objects", "eventsvc::in_a_foreign_loop"),
    "order of events": (
        "eventsvc::each_publishers_events_on_a_subject_stay_in_order",
        "eventsvc::with_threads_one_subject_does_not_wait_for_another",
    ),
    "full queues of subscribers": (
        "eventsvc::the_slow_one_is_told_what_it_lost_and_others_get_all",
        "eventsvc::a_publisher_waits_only_once_for_who_takes_nothing",
    ),
    "events that are lost": ("eventsvc::the_slow_one_is_told_what_it_lost_and_others_get_all",),
    "a subscriber, or a server, that is gone": (
        "eventsvc::a_restarted_server_has_the_subscriptions_again",
        "eventsvc::a_lost_connection_is_made_again_and_what_was_missed_is_counted",
    ),
    "patterns of subjects": ("eventsvc::a_broken_pattern",),
    "subjects": ("eventsvc::what_is_no_subject",),
    "an event server that is registered already": ("eventsvc::by_the_name_server_and_with_a_passphrase",),
    "`pyro-es`, `python -m Pyro.EventService.Server`": (
        "event_tool::what_it_prints_from_start_to_end",
        "event_tool::arguments_that_do_not_fit_show_the_usage",
        "event_tool::a_port_in_use",
    ),
    "`waitUntilStarted` of a starter that fails": ("service_starter::who_waits_is_told_that_it_could_not_be_started",),
    "`listen` after `abort`": (
        "eventsvc::who_does_not_listen_any_more_misses_events_and_is_told_how_many",
        "eventsvc::abort_in_an_event_and_before_listening",
    ),
    "messages of events": ("eventsvc::what_cannot_travel_is_the_publishers_matter",),
}
"""The rows of the tables in docs/porting.md."""


def names_in(path: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(
    "table", [CHECKLIST, RULES, MODES, DIFFERENCES], ids=["checklist", "rules", "modes", "differences"]
)
def test_what_is_named_here_is_there(table):
    missing = []
    for entry, tests in table.items():
        assert tests, entry
        for test in tests:
            place, name = test.split("::")
            folder, _, file = place.rpartition("/")
            path = "/".join(filter(None, (folder, f"test_{file}.py")))
            if f"test_{name}" not in names_in(path):
                missing.append(f"{entry}: {test}")
    assert not missing


def test_all_rules_are_there():
    assert sorted({*RULES, 5, 19}) == list(range(1, 21))


def test_all_differences_are_there():
    page = (ROOT / "docs" / "porting.md").read_text().split("\n## Names that are gone\n")[0]
    rows = re.findall(r"^\| (.*?) \| .* \| .* \| .* \|$", page, re.MULTILINE)
    topics = [row for row in rows if row not in ("topic", "situation")]
    assert sorted(topics) == sorted(DIFFERENCES)
