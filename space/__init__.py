"""What visitors meet: conversion, example portraits and the pages of the app."""
