#!/bin/sh
case "$1" in
bound | renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/$mask" dev "$interface"
    ip route add default via "$router"
    echo "nameserver $dns" > /etc/resolv.conf
    echo "search $domain" >> /etc/resolv.conf
    hostname "$hostname"
    hostname > /www/name
    echo "GUEST lease $ip/$mask $hostname.$domain mtu=$mtu ntp=$ntpsrv for=$lease routes=$staticroutes"
    ;;
esac
